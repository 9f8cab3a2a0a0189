"""Settings of every property, and how one that failed is run again."""

import pytest
from hypothesis import HealthCheck, Phase, settings

from tests.properties import profile

settings.register_profile(
    "properties",
    max_examples=profile.EXAMPLES,
    deadline=None,
    database=None,
    print_blob=True,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("properties")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.failed and report.when == "call":
        report.sections.append(
            ("The same examples again", profile.rerun(item.nodeid))
        )
    return report
