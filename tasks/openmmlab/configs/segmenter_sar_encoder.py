"""Segmenter on a model of the catalogue, as a configuration of mmseg: the settings of section 5.1, written out.

Copy it, edit the first block, and train it as any configuration of mmseg. Tiles are cut in advance; masks are 8-bit
class ids with 255 for what is not labelled.
"""

custom_imports = {"imports": ["tasks.openmmlab.registration"], "allow_failed_imports": False}
default_scope = "mmseg"

# ---- what you edit ---------------------------------------------------------------------------------------------------
model_name = "fusar-klip-vit-b-16"  # anything that `--models` takes, as long as it is one model
weights_root = None  # where `harness weights fetch` puts them; or a folder
width = 768  # of the model's tokens
heads = 12
data_root = "data/land_cover/"  # images/{train,test}/*.png, masks/{train,test}/*.png
class_names = ("background", "building", "vegetation", "road")
tile = 256
batch = 60
workers = 4
epochs = 100
# ----------------------------------------------------------------------------------------------------------------------

model = {
    "type": "EncoderDecoder",
    "data_preprocessor": {
        "type": "SegDataPreProcessor",
        "mean": [127.5, 127.5, 127.5],
        "std": [127.5, 127.5, 127.5],
        "bgr_to_rgb": True,
        "pad_val": 0,
        "seg_pad_val": 255,
        "size": (tile, tile),
    },
    "backbone": {
        "type": "SAREncoder",
        "model": model_name,
        "weights_root": weights_root,
        "image_size": tile,
        "out": "map",
        "drop_path": 0.1,
        "frozen": False,
    },
    "decode_head": {
        "type": "SegmenterMaskTransformerHead",
        "in_channels": width,
        "channels": width,
        "num_classes": len(class_names),
        "num_layers": 2,
        "num_heads": heads,
        "embed_dims": width,
        "dropout_ratio": 0.0,
        "drop_rate": 0.0,
        "drop_path_rate": 0.0,
        "ignore_index": 255,
        "align_corners": False,
        # Without avg_non_ignore, mmseg divides by all pixels, those that are not labelled included.
        "loss_decode": {"type": "CrossEntropyLoss", "use_sigmoid": False, "avg_non_ignore": True, "loss_weight": 1.0},
    },
    "train_cfg": {},
    "test_cfg": {"mode": "slide", "crop_size": (tile, tile), "stride": (tile, tile)},
}

train_pipeline = [
    {"type": "LoadImageFromFile"},
    {"type": "LoadAnnotations"},
    {"type": "PackSegInputs"},
]
test_pipeline = train_pipeline

train_dataloader = {
    "batch_size": batch,
    "num_workers": workers,
    "sampler": {"type": "DefaultSampler", "shuffle": True},
    "dataset": {
        "type": "BaseSegDataset",
        "data_root": data_root,
        "data_prefix": {"img_path": "images/train", "seg_map_path": "masks/train"},
        "img_suffix": ".png",
        "seg_map_suffix": ".png",
        "metainfo": {"classes": class_names},
        "pipeline": train_pipeline,
    },
}
val_dataloader = {
    "batch_size": 1,
    "num_workers": workers,
    "sampler": {"type": "DefaultSampler", "shuffle": False},
    "dataset": {
        "type": "BaseSegDataset",
        "data_root": data_root,
        "data_prefix": {"img_path": "images/test", "seg_map_path": "masks/test"},
        "img_suffix": ".png",
        "seg_map_suffix": ".png",
        "metainfo": {"classes": class_names},
        "pipeline": test_pipeline,
    },
}
test_dataloader = val_dataloader
val_evaluator = {"type": "IoUMetric", "iou_metrics": ["mIoU"]}
test_evaluator = val_evaluator

train_cfg = {"type": "EpochBasedTrainLoop", "max_epochs": epochs, "val_interval": epochs}
val_cfg = {"type": "ValLoop"}
test_cfg = {"type": "TestLoop"}
optim_wrapper = {
    "type": "OptimWrapper",  # AmpOptimWrapper for mixed precision on a GPU
    "optimizer": {"type": "AdamW", "lr": 1e-3, "betas": (0.9, 0.999), "weight_decay": 0.0},
}
param_scheduler = [
    {
        "type": "PolyLR",
        "power": 0.9,
        "eta_min": 1e-4,
        "begin": 0,
        "end": epochs,
        "by_epoch": True,
        "convert_to_iter_based": True,
    }
]
