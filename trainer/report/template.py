"""HTML and CSS of the report's page."""

# A string.Template with $title, $subtitle and $body.
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>$title</title>
<style>
:root { --page: #f3f4f6; --paper: #ffffff; --ink: #1f2937;
  --muted: #5f6673; --line: #e5e7eb; --accent: #2563eb; }
@media screen and (prefers-color-scheme: dark) {
  :root { --page: #0e1219; --paper: #171c26; --ink: #e5e7eb;
    --muted: #9ca3af; --line: #2a3140; --accent: #6ea8fe; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 2rem 1.25rem 3rem;
  background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { margin: 0; font-size: 1.75rem; line-height: 1.2;
  overflow-wrap: anywhere; }
h2 { margin: 2rem 0 .75rem; font-size: 1.05rem; overflow-wrap: anywhere; }
header p, figcaption, .note, section > p { color: var(--muted); }
header p { margin: .35rem 0 0; }
section > p { margin: 0 0 .5rem; font-size: .9rem; }
.cards { display: grid; gap: .75rem;
  grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); }
.card, figure, .scroll, dl, section > pre { background: var(--paper); margin: 0;
  border: 1px solid var(--line); border-radius: .75rem; }
.card { padding: .9rem 1rem; }
.card:first-child .value { color: var(--accent); }
.name { font-size: .85rem; font-weight: 600; }
.value { font-size: 1.6rem; font-weight: 650; line-height: 1.35;
  font-variant-numeric: tabular-nums; }
.note { font-size: .78rem; line-height: 1.35; }
.scroll { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; font-size: .9rem;
  font-variant-numeric: tabular-nums; }
th, td { padding: .55rem .75rem; text-align: right; white-space: nowrap; }
th { white-space: normal; vertical-align: bottom; color: var(--muted);
  font-weight: 600; font-size: .82rem; }
th:first-child, td:first-child { text-align: left; }
td:first-child { white-space: normal; overflow-wrap: break-word;
  min-width: 4.5rem; max-width: 12rem; }
tr:has(.interval) td:first-child { min-width: 9rem; }
td.interval { white-space: normal; font-size: .8rem; padding: .55rem .4rem; }
td { border-top: 1px solid var(--line); }
td.best { font-weight: 700; color: var(--accent); }
.pair { columns: 26rem; column-gap: .75rem; }
.pair section { break-inside: avoid; padding-top: 2rem; }
.pair h2 { margin-top: 0; }
.plots { display: grid; gap: .75rem;
  grid-template-columns: repeat(auto-fill, minmax(min(26rem, 100%), 1fr)); }
.scroll + .plots { margin-top: .75rem; }
.plots section { min-width: 0; }
.plots table { font-size: .82rem; }
.plots th, .plots td { padding: .35rem .5rem; }
figure { padding: .75rem; overflow: hidden; }
img { display: block; width: 100%; height: auto; border-radius: .35rem; }
figcaption { padding: .5rem .35rem 0; font-size: .85rem; }
dl { padding: .4rem 1rem; display: grid; gap: 0 2rem; font-size: .9rem;
  grid-template-columns: minmax(8rem, auto) 1fr; }
dt, dd { margin: 0; padding: .4rem 0; min-width: 0; }
dt { color: var(--muted); }
dd { overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
pre { overflow-x: auto; font-size: .8rem; white-space: pre-wrap;
  overflow-wrap: anywhere; }
section > pre { padding: .75rem 1rem; }
@media (max-width: 34rem) { body { padding: 1.5rem .75rem 2rem; }
  figure { padding: .75rem .35rem; }
  dl { gap: 0 1rem; grid-template-columns: minmax(0, 11fr) minmax(0, 9fr); } }
summary { cursor: pointer; color: var(--accent); }
@media print { body { max-width: none; padding: 0; }
  .scroll { overflow: visible; }
  .scroll table { font-size: .62rem; }
  .scroll :is(th, td) { padding: .3rem; font-size: inherit; }
  .plots { display: block; columns: 2; column-gap: .75rem; }
  .plots > * { break-inside: avoid; margin-bottom: .75rem; }
  .card { break-inside: avoid; } h2 { break-after: avoid; } }
</style>
</head>
<body>
<header><h1>$title</h1><p>$subtitle</p></header>
$body
</body>
</html>
"""
