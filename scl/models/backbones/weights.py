"""ImageNet weights by torchvision's names; fetched only where somebody asks for them."""

from __future__ import annotations

from pickle import UnpicklingError

from torch import Tensor
from torchvision import models


def torchvision_state(model: str, weights: str) -> dict[str, Tensor]:
    """Get the state dict of torchvision's weights, such as ("resnet50", "IMAGENET1K_V1").

    Read from torch's cache, or fetched into it and checked; nothing is unpickled but tensors.
    """
    known = {w.name: w for w in models.get_model_weights(model)}
    if weights not in known:
        raise ValueError(
            f"weights={weights!r} of {model}: torchvision knows {sorted(known)}; None is random"
        )
    try:
        return known[weights].get_state_dict(progress=True, check_hash=True, weights_only=True)
    except (OSError, RuntimeError, UnpicklingError) as error:
        reason = str(error).split(". ")[0]
        raise ValueError(
            f"the weights {weights} of {model} cannot be read ({reason}): connect once, or put "
            f"{known[weights].url.rsplit('/', 1)[-1]} into torch's cache of checkpoints"
        ) from None
