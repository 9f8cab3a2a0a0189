"""The names of the package for type checkers, which import none lazily."""

from wukong_tf import (
    columns as columns,
)
from wukong_tf import (
    config as config,
)
from wukong_tf import (
    embeddings as embeddings,
)
from wukong_tf import (
    errors as errors,
)
from wukong_tf import (
    features as features,
)
from wukong_tf import (
    interop as interop,
)
from wukong_tf import (
    layers as layers,
)
from wukong_tf import (
    metrics as metrics,
)
from wukong_tf import (
    models as models,
)
from wukong_tf import (
    optimizers as optimizers,
)
from wukong_tf import (
    runs as runs,
)
from wukong_tf import (
    scaling as scaling,
)
from wukong_tf.config import (
    CategoricalFeature as CategoricalFeature,
)
from wukong_tf.config import (
    DCNv2Config as DCNv2Config,
)
from wukong_tf.config import (
    DLRMConfig as DLRMConfig,
)
from wukong_tf.config import (
    EmbeddingGroup as EmbeddingGroup,
)
from wukong_tf.config import (
    FactorizationMachineConfig as FactorizationMachineConfig,
)
from wukong_tf.config import (
    FeatureSpec as FeatureSpec,
)
from wukong_tf.config import (
    LogisticRegressionConfig as LogisticRegressionConfig,
)
from wukong_tf.config import (
    MLPConfig as MLPConfig,
)
from wukong_tf.config import (
    NumericFeature as NumericFeature,
)
from wukong_tf.config import (
    RankMixerConfig as RankMixerConfig,
)
from wukong_tf.config import (
    TableSettings as TableSettings,
)
from wukong_tf.config import (
    Task as Task,
)
from wukong_tf.config import (
    VectorFeature as VectorFeature,
)
from wukong_tf.config import (
    WukongConfig as WukongConfig,
)
from wukong_tf.models import (
    LogisticRegression as LogisticRegression,
)
from wukong_tf.models import (
    Wukong as Wukong,
)
from wukong_tf.models import (
    build_model as build_model,
)
from wukong_tf.optimizers import (
    RowwiseAdagrad as RowwiseAdagrad,
)
from wukong_tf.optimizers import (
    TableAdam as TableAdam,
)
from wukong_tf.optimizers import (
    table_optimizer as table_optimizer,
)
from wukong_tf.runs import (
    load_run as load_run,
)

__version__: str
