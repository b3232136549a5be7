"""Tensor names and shapes of published files; `published_files` says what the letters stand for."""

RESIDUAL = """
{b}ln_1.{wb} D
{b}attn.in_proj_weight 3D,D
{b}attn.in_proj_bias 3D
{b}attn.out_proj.{wb} D,D
{b}ln_2.{wb} D
{b}mlp.c_fc.{wb} 4D,D
{b}mlp.c_proj.{wb} D,4D
"""
CLIP = """
class_embedding D
positional_embedding N,D
conv1.weight D,3,p,p
ln_pre.{wb} D
""" + RESIDUAL.replace("{b}", "transformer.resblocks.{i}.")
CLIP_END = "ln_post.{wb} D\nproj D,E\n"
CLIP_TEXT = """
positional_embedding 77,W
text_projection W,E
token_embedding.weight V,W
ln_final.{wb} W
""" + RESIDUAL.replace("{b}", "transformer.resblocks.{i}.").replace("D", "W")
HF_CLIP = """
embeddings.class_embedding D
embeddings.patch_embedding.weight D,3,p,p
embeddings.position_embedding.weight N,D
pre_layrnorm.{wb} D
encoder.layers.{i}.self_attn.k_proj.{wb} D,D
encoder.layers.{i}.self_attn.v_proj.{wb} D,D
encoder.layers.{i}.self_attn.q_proj.{wb} D,D
encoder.layers.{i}.self_attn.out_proj.{wb} D,D
encoder.layers.{i}.layer_norm1.{wb} D
encoder.layers.{i}.mlp.fc1.{wb} 4D,D
encoder.layers.{i}.mlp.fc2.{wb} D,4D
encoder.layers.{i}.layer_norm2.{wb} D
post_layernorm.{wb} D
"""
MMSEG = """
cls_token 1,1,D
pos_embed 1,N,D
patch_embed.projection.weight D,3,p,p
ln_pre.{wb} D
layers.{i}.ln1.{wb} D
layers.{i}.attn.attn.in_proj_weight 3D,D
layers.{i}.attn.attn.in_proj_bias 3D
layers.{i}.attn.attn.out_proj.{wb} D,D
layers.{i}.ln2.{wb} D
layers.{i}.ffn.layers.0.0.{wb} 4D,D
layers.{i}.ffn.layers.1.{wb} D,4D
"""
SAN_TAIL = """
layers.{i}.norms.0.{wb} D
layers.{i}.attentions.0.attn.in_proj_weight 3D,D
layers.{i}.attentions.0.attn.in_proj_bias 3D
layers.{i}.attentions.0.attn.out_proj.{wb} D,D
layers.{i}.norms.1.{wb} D
layers.{i}.ffns.0.layers.0.0.{wb} 4D,D
layers.{i}.ffns.0.layers.1.{wb} D,4D
ln_post.{wb} D
proj.weight E,D
"""
TIMM_BLOCK = """
blocks.{i}.norm1.{wb} D
blocks.{i}.attn.qkv.{wb} 3D,D
blocks.{i}.attn.proj.{wb} D,D
blocks.{i}.norm2.{wb} D
blocks.{i}.mlp.fc1.{wb} 4D,D
blocks.{i}.mlp.fc2.{wb} D,4D
"""
TIMM = (
    """
cls_token 1,1,D
pos_embed 1,N,D
patch_embed.proj.{wb} D,3,p,p
norm.{wb} D
"""
    + TIMM_BLOCK
)
DECODER_BLOCK = TIMM_BLOCK.replace("blocks", "decoder_blocks").replace("D", "Q")
HIVIT_STEM = """
blocks.{i}.norm2.{wb} S
blocks.{i}.mlp.fc1.{wb} 3S,S
blocks.{i}.mlp.fc2.{wb} S,3S
"""
FLAX = """
embedding/kernel p,p,3,D
embedding/bias D
cls 1,1,D
Transformer/posembed_input/pos_embedding 1,N,D
Transformer/encoder_norm/scale D
Transformer/encoder_norm/bias D
Transformer/encoderblock_{i}/LayerNorm_0/scale D
Transformer/encoderblock_{i}/LayerNorm_0/bias D
Transformer/encoderblock_{i}/LayerNorm_2/scale D
Transformer/encoderblock_{i}/LayerNorm_2/bias D
Transformer/encoderblock_{i}/MultiHeadDotProductAttention_1/query/kernel D,H,h
Transformer/encoderblock_{i}/MultiHeadDotProductAttention_1/query/bias H,h
Transformer/encoderblock_{i}/MultiHeadDotProductAttention_1/key/kernel D,H,h
Transformer/encoderblock_{i}/MultiHeadDotProductAttention_1/key/bias H,h
Transformer/encoderblock_{i}/MultiHeadDotProductAttention_1/value/kernel D,H,h
Transformer/encoderblock_{i}/MultiHeadDotProductAttention_1/value/bias H,h
Transformer/encoderblock_{i}/MultiHeadDotProductAttention_1/out/kernel H,h,D
Transformer/encoderblock_{i}/MultiHeadDotProductAttention_1/out/bias D
Transformer/encoderblock_{i}/MlpBlock_3/Dense_0/kernel D,4D
Transformer/encoderblock_{i}/MlpBlock_3/Dense_0/bias 4D
Transformer/encoderblock_{i}/MlpBlock_3/Dense_1/kernel 4D,D
Transformer/encoderblock_{i}/MlpBlock_3/Dense_1/bias D
head/kernel D,21843
head/bias 21843
"""
