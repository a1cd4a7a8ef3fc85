"""Which entries of PyTorch's `op_db` the project promises, which must be refused, and which are run for their numbers.

An entry is promised when its ATen operator is tagged `core`, or when it is named in `BEYOND_CORE`.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import torch
from torch.testing._internal.common_methods_invocations import op_db
from torch.testing._internal.opinfo.core import OpInfo

from .own_entries import own_entries

Group = Literal["promised", "refused", "other"]

_BEYOND_CORE = """
nn.functional.linear matmul mm bmm baddbmm addbmm addmm addmm.decomposed addmv mv dot vdot outer addr kron inner
tensordot einsum linalg.multi_dot linalg.vecdot __rmatmul__
nn.functional.scaled_dot_product_attention torch.ops.aten._safe_softmax.default
nn.functional.layer_norm nn.functional.group_norm nn.functional.instance_norm nn.functional.rms_norm
nn.functional.batch_norm nn.functional.batch_norm.without_cudnn native_layer_norm native_group_norm
native_batch_norm _native_batch_norm_legit nn.functional.local_response_norm nn.functional.normalize
nn.functional.adaptive_avg_pool1d nn.functional.adaptive_avg_pool2d nn.functional.adaptive_avg_pool3d
nn.functional.adaptive_max_pool1d nn.functional.adaptive_max_pool2d nn.functional.adaptive_max_pool3d
nn.functional.avg_pool1d nn.functional.avg_pool2d nn.functional.avg_pool3d
nn.functional.max_pool1d nn.functional.max_pool2d nn.functional.max_pool3d
nn.functional.conv1d nn.functional.conv2d nn.functional.conv3d
nn.functional.conv_transpose1d nn.functional.conv_transpose2d nn.functional.conv_transpose3d
nn.functional.interpolate.nearest nn.functional.interpolate.nearest-exact nn.functional.interpolate.linear
nn.functional.interpolate.bilinear nn.functional.interpolate.bicubic nn.functional.interpolate.trilinear
nn.functional.interpolate.area nn.functional.upsample_bilinear nn.functional.upsample_nearest
_upsample_bilinear2d_aa nn.functional.grid_sample grid_sampler_2d grid_sampler_3d
nn.functional.pixel_shuffle nn.functional.pixel_unshuffle nn.functional.channel_shuffle
nn.functional.embedding nn.functional.embedding_bag nn.functional.one_hot
nn.functional.pad.constant nn.functional.pad.reflect nn.functional.pad.replicate
nn.functional.pad.replicate_negative nn.functional.pad.circular constant_pad_nd
nn.functional.relu nn.functional.relu6 nn.functional.elu nn.functional.celu nn.functional.selu nn.functional.gelu
nn.functional.glu nn.functional.silu nn.functional.mish nn.functional.prelu nn.functional.leaky_relu
nn.functional.hardswish nn.functional.hardsigmoid nn.functional.hardtanh nn.functional.hardshrink
nn.functional.softshrink nn.functional.softplus nn.functional.softsign nn.functional.tanhshrink
nn.functional.threshold nn.functional.logsigmoid nn.functional.softmin nn.functional.softmin.with_dtype
softmax softmax.with_dtype log_softmax log_softmax.with_dtype logsumexp logcumsumexp
cumsum cumprod cummax cummin sort argsort msort topk max.reduction_with_dim max.reduction_no_dim max.binary
min.reduction_with_dim min.reduction_no_dim min.binary median argmax argmin aminmax amax amin any all sum prod mean
nansum nanmean count_nonzero std std.unbiased var var.unbiased std_mean std_mean.unbiased var_mean var_mean.unbiased
norm norm.fro norm.inf linalg.norm linalg.vector_norm linalg.matrix_norm dist
clamp clamp_min clamp_max maximum minimum fmax fmin bitwise_and bitwise_or bitwise_xor bitwise_not
bitwise_left_shift bitwise_right_shift __rand__ __ror__ __rxor__ remainder fmod floor_divide __rmod__ true_divide
div.no_rounding_mode div.trunc_rounding div.floor_rounding __rdiv__ __radd__ __rmul__ __rsub__ __rpow__ rsub
float_power square positive sgn sign neg trunc frac round round.decimals_0 round.decimals_3 round.decimals_neg_3
isfinite isinf isnan isposinf isneginf isclose nan_to_num logit lerp addcmul addcdiv hypot exp2 logaddexp
logaddexp2 xlogy heaviside copysign signbit deg2rad rad2deg logical_and logical_or logical_xor logical_not
gather index_put index_select index_add index_copy index_fill scatter scatter_add scatter_reduce.sum
scatter_reduce.prod scatter_reduce.mean scatter_reduce.amin scatter_reduce.amax __getitem__ where masked_fill
masked_scatter select select_scatter slice slice_scatter diagonal diagonal_copy diagonal_scatter diag diag_embed
take take_along_dim roll rot90 flip fliplr flipud tril triu unfold unfold_copy nn.functional.unfold
repeat tile expand expand_as expand_copy broadcast_to broadcast_tensors repeat_interleave cdist
nn.functional.pdist cross linalg.cross linalg.diagonal linspace linspace.tensor_overload arange full full_like
new_full new_ones new_zeros ones ones_like zeros zeros_like eye fill scalar_tensor
meshgrid.variadic_tensors meshgrid.list_of_tensors bucketize searchsorted
cat stack hstack vstack dstack column_stack chunk unsafe_chunk split split.list_args unsafe_split split_with_sizes
split_with_sizes_copy tensor_split hsplit vsplit dsplit unbind unbind_copy narrow narrow_copy movedim permute
permute_copy transpose transpose_copy t t_copy T H mT mH view view_as view_copy reshape reshape_as ravel
flatten unflatten squeeze squeeze.multiple squeeze_copy unsqueeze unsqueeze_copy atleast_1d atleast_2d atleast_3d
sum_to_size clone contiguous alias_copy to bfloat16 bool float half int long trace
nn.functional.fold lstm gru rnn_tanh rnn_relu scaled_dot_product_attention_heads
nn.functional.multi_head_attention_forward nn.functional.cosine_similarity nn.functional.pairwise_distance
"""
BEYOND_CORE = frozenset(_BEYOND_CORE.split())
"""Entries that are not core ATen themselves, but that TensorRT takes whole or that models reach after export."""

_RANDOM = """
bernoulli cauchy exponential geometric log_normal multinomial normal normal.in_place normal.number_mean rand_like
randint randint_like randn randn_like uniform nn.functional.dropout nn.functional.dropout2d nn.functional.dropout3d
nn.functional.alpha_dropout nn.functional.feature_alpha_dropout.with_train nn.functional.rrelu
nn.functional.fractional_max_pool2d nn.functional.fractional_max_pool3d svd_lowrank pca_lowrank
"""
RANDOM = frozenset(_RANDOM.split())
"""Entries that draw random numbers: these must stay in PyTorch."""

_DATA_DEPENDENT = """
nonzero argwhere masked_select unique unique_consecutive item bincount combinations
"""
DATA_DEPENDENT = frozenset(_DATA_DEPENDENT.split())
"""Entries whose result's size, or whose Python value, depends on the values of tensors."""

UNINITIALIZED = frozenset({"empty", "empty_like", "empty_permuted", "empty_strided", "new_empty", "new_empty_strided"})
"""Entries whose values nobody defines: types and shapes are compared."""

NOT_FOR_INFERENCE = frozenset({"max_pool2d_with_indices_backward", "resize_"})
"""Entries that are tagged `core`, but compute gradients or change the size of their input in place."""


def name_of(entry: OpInfo) -> str:
    """The name of an entry, with its variant: "div.floor_rounding"."""
    return f"{entry.name}.{entry.variant_test_name}" if entry.variant_test_name else str(entry.name)


@functools.cache
def entries() -> Mapping[str, OpInfo]:
    """All entries of `op_db`, and those of `own_entries`, by name."""
    return MappingProxyType({name_of(entry): entry for entry in (*op_db, *own_entries())})


def group_of(name: str) -> Group:
    """What the project says about an entry."""
    if name in RANDOM | DATA_DEPENDENT | NOT_FOR_INFERENCE:
        return "refused"
    return "promised" if name in BEYOND_CORE or _is_core(entries()[name]) else "other"


def _is_core(entry: OpInfo) -> bool:
    packet = getattr(torch.ops.aten, str(entry.aten_name or entry.name), None)
    if not isinstance(packet, torch._ops.OpOverloadPacket):
        return False
    return any(torch.Tag.core in getattr(packet, overload).tags for overload in packet.overloads())


def dtypes_of(name: str) -> tuple[torch.dtype, ...]:
    """The dtypes that an entry is run in, float32 first: those of the project that the CPU kernels take."""
    wanted = (torch.float32, torch.float16, torch.int64, torch.bool)
    supported = entries()[name].supported_dtypes("cpu")
    return tuple(dtype for dtype in wanted if dtype in supported)
