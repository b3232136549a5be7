"""The fixed settings of every task, as versioned data: `paper`, `released` and `mini`.

`paper` is what the paper prints (Tables 3 and 5) and, where it is silent, what its authors' public configuration
says; `released` follows that configuration where the two contradict; `mini` is sized for two CPU cores.
"""

from tasks.protocol.load import (
    PROFILES,
    Profile,
    common_settings,
    deviations_by_hand,
    load_profile,
    parse_by_hand,
    task_settings,
)
from tasks.protocol.settings import (
    CaptionSettings,
    ClassificationSettings,
    DetectionSettings,
    RetrievalSettings,
    SegmentationSettings,
    TaskSettings,
    TrainingSettings,
    VqaSettings,
)

__all__ = [
    "PROFILES",
    "CaptionSettings",
    "ClassificationSettings",
    "DetectionSettings",
    "Profile",
    "RetrievalSettings",
    "SegmentationSettings",
    "TaskSettings",
    "TrainingSettings",
    "VqaSettings",
    "common_settings",
    "deviations_by_hand",
    "load_profile",
    "parse_by_hand",
    "task_settings",
]
