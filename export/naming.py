"""Names of the outputs of signatures."""

from wukong_tf.config import FeatureSpec

PROBABILITY = "probability"
LOGIT = "logit"
OUTPUTS = (PROBABILITY, LOGIT)


def output_names(spec: FeatureSpec) -> dict[str, tuple[str, str]]:
    """Returns the names of each task's probability and logit.

    Returns:
        dict of task name to ("probability", "logit"), with "TASK_" before
        both where there are several tasks. If a feature has that name, "_"
        follows it, as a graph has one name for one value.
    """
    inputs = set(spec.feature_names)

    def free(name):
        while name in inputs:
            name += "_"
        return name

    several = len(spec.tasks) > 1
    return {
        task.name: (
            free(f"{task.name}_{PROBABILITY}" if several else PROBABILITY),
            free(f"{task.name}_{LOGIT}" if several else LOGIT),
        )
        for task in spec.tasks
    }
