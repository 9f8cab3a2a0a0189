"""The flags of `python -m export.serve`."""

from absl import flags


def define(values: flags.FlagValues):
    """Defines the flags; call it once, before they are parsed."""
    flags.DEFINE_string(
        "model",
        None,
        "Directory of versions, as export.main's --output, which is watched "
        "for higher ones; or of a single version. Needed.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "name",
        None,
        "Name of the model in paths. Default: that of the export.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "version",
        None,
        "The only version to serve, to stay with it or to go back to it. "
        "Default: the highest.",
        flag_values=values,
    )
    flags.DEFINE_boolean(
        "verify",
        True,
        "Compare a version's files with the SHA-256 in its manifest before it "
        "is loaded. --verify=false if something else has checked them.",
        flag_values=values,
    )
    flags.DEFINE_enum(
        "engine",
        "auto",
        ["auto", "onnx", "saved_model"],
        "What computes. auto: ONNX where it was published and requests hold "
        "ids, else the SavedModel.",
        flag_values=values,
    )
    flags.DEFINE_string(
        "host",
        "127.0.0.1",
        "Address to listen on. Other machines reach 0.0.0.0 or a public one: "
        "there is neither a password nor encryption.",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "port",
        8501,
        "Port; 0 takes a free one and prints it.",
        0,
        65535,
        flag_values=values,
    )
    flags.DEFINE_integer(
        "grpc_port",
        None,
        "Port of TensorFlow Serving's gRPC interface; 0 takes a free one and "
        "prints it. Default: none.",
        0,
        65535,
        flag_values=values,
    )
    flags.DEFINE_integer(
        "threads",
        None,
        "Threads of one computation. Default: all processors.",
        1,
        flag_values=values,
    )
    flags.DEFINE_integer(
        "max_batch_rows",
        512,
        "Rows of one computation. Requests that wait are joined up to it, "
        "larger ones are cut.",
        1,
        flag_values=values,
    )
    flags.DEFINE_integer(
        "max_waiting_rows",
        8192,
        "Rows that may wait; requests beyond are answered 503.",
        1,
        flag_values=values,
    )
    flags.DEFINE_float(
        "max_request_mb",
        16.0,
        "Largest body, in millions of bytes.",
        0.001,
        flag_values=values,
    )
    flags.DEFINE_float(
        "body_timeout_s",
        10.0,
        "Longest time that a body may take to arrive.",
        0.1,
        flag_values=values,
    )
    flags.DEFINE_float(
        "header_timeout_s",
        10.0,
        "Longest time that a request's headers may take to arrive.",
        0.1,
        flag_values=values,
    )
    flags.DEFINE_integer(
        "max_connections",
        2000,
        "Connections that may be open at once; those beyond are answered 503.",
        1,
        flag_values=values,
    )
    flags.DEFINE_list(
        "allow_hosts",
        [],
        "On loopback: names that requests may call the server by, besides "
        "those of loopback. A proxy may pass on its own.",
        flag_values=values,
    )
    flags.DEFINE_float(
        "poll_s",
        1.0,
        "Seconds between two looks for another version.",
        0.05,
        flag_values=values,
    )
    flags.DEFINE_float(
        "grace_s",
        10.0,
        "Seconds that requests at work may take after a signal to stop.",
        0.0,
        flag_values=values,
    )
