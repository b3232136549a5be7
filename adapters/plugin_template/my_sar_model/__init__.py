"""My SAR model: its card. Planning imports this module, so it must not import torch."""

from adapters.card import Architecture, InputContract, ModelCard, WeightSource

card = ModelCard(
    id="my-sar-model",  # the name on the command line
    name="My SAR model",  # the name in tables
    backbone="other",  # ViT-Base or ViT-Large if it has their width and depth: it then competes in those rows
    kind="own",
    architecture=Architecture(
        kind="object",
        factory="my_sar_model.encoder:build",
        width=64,  # these are yours to use in `build`
        depth=3,
        patch=16,  # image sides are made multiples of it; the same as the encoder's stride
        in_channels=3,
        image_size=64,  # the size of pre-training; checks and speed are measured at it
    ),
    # How pixels are normalised, on values scaled to 0..1. A grey image is repeated for all channels.
    input=InputContract(channels=3, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
    # From scratch. With weights:
    #   WeightSource(kind="file", path="/where/it/lies.pth", licence="yours")
    #   WeightSource(kind="hub", hub_id="you/your-model", filename="model.safetensors", licence="Apache-2.0")
    # and layout="timm" below, if the tensors are called as in `encoder.named_parameters()`.
    weights=WeightSource(kind="random"),
    note="a small convolutional network",
)
