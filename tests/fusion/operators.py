"""Which torch operators a step runs: on a GPU each but the views is a kernel, and some wait for the device."""

from collections import Counter
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_WAITING = {"item", "_local_scalar_dense", "nonzero", "is_nonzero", "masked_select", "equal"}
_VIEWS = {"alias", "as_strided", "detach", "expand", "reshape", "select", "slice", "split", "split_with_sizes"}
_VIEWS |= {"unbind", "unsqueeze", "view"}


class Operators(TorchDispatchMode):
    """Counts the operators that run within it.

    Attributes:
        run: How often each was run; neither views nor conversions to what a tensor is already.
        waits: How often the host waited for a device: a copy from it, or a look at a value.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.run: Counter[str] = Counter()
        self.waits = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, out = func.overloadpacket.__name__, func(*args, **(kwargs or {}))
        before, after = (_place(args[0] if args else None), _place(out))
        if name not in _VIEWS and (name != "to" or before != after):
            self.run[name] += 1
        fetched = name in {"to", "_to_copy"} and before[:1] != after[:1] == ("cpu",)
        self.waits += fetched or name in _WAITING
        return out


def _place(one: Any) -> tuple[str, ...]:
    return (one.device.type, str(one.dtype)) if isinstance(one, Tensor) else ()
