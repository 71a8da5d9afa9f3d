"""Where a member comes from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field, field_validator
from typing_extensions import TypedDict

from deepen_llm.members.template_variables import TemplateVariables
from deepen_llm.options import Options

Quantization = Literal["bnb-int8", "bnb-nf4", "torchao-int8"]
"""How weights are quantized while they are loaded: the package, and what it makes of them."""


class Placement(TypedDict, total=False):
    """How members that are given by their path alone are loaded; see `MemberConfig`.

    A list of devices has one for each member.
    """

    dtype: str | torch.dtype
    device: str | torch.device | Sequence[str | torch.device]
    device_map: str | None
    quantization: Quantization | None
    compile: bool
    trust_remote_code: bool
    safetensors_only: bool


class MemberConfig(Options):
    """Where a member comes from.

    Attributes:
        path: A local folder or a hub id.
        name: What messages and traces call it; by default the path's last part.
        revision: The hub revision.
        dtype: ``auto`` (the checkpoint's own; float16 becomes float32 on a CPU, which is slow in it) or a torch dtype.
        device: A torch device, or ``auto``: an ensemble's members go, the largest first, to the GPU with most free
            memory; one that fits on none alone is split over several, and one that fits on none at all goes to the CPU,
            with a warning. Where there is no GPU, all go to the CPU.
        device_map: Accelerate's ``device_map``, to spread one member over devices, in place of ``device``.
        quantization: Quantize the linear layers' weights while they are loaded: ``bnb-int8`` (LLM.int8) and ``bnb-nf4``
            (4 bits) by bitsandbytes, ``torchao-int8`` (8 bits) by torchao. Checkpoints that are quantized already need
            nothing here.
        compile: Compile one-token steps with ``torch.compile``: about a minute at the first of them, and fewer kernels
            in each.
        trust_remote_code: Run code that comes with the checkpoint.
        safetensors_only: Refuse weights in pickle formats, which can run code.
        chat_template_kwargs: Variables for the member's chat template, such as ``enable_thinking: false``; those that
            a call gives go before them.
    """

    path: str = Field(min_length=1)
    name: str | None = None
    revision: str | None = None
    dtype: str = "auto"
    device: str = "auto"
    device_map: str | dict[str, int | str] | None = None
    quantization: Quantization | None = None
    compile: bool = False
    trust_remote_code: bool = False
    safetensors_only: bool = True
    chat_template_kwargs: TemplateVariables = Field(default_factory=dict)

    @property
    def label(self) -> str:
        """What messages and traces call the member."""
        folder = Path(self.path)
        return self.name or (folder.resolve().name if folder.exists() else self.path)

    @field_validator("path")
    @classmethod
    def _home(cls, value: str) -> str:
        try:
            return str(Path(value).expanduser()) if value.startswith("~") else value
        except RuntimeError as error:
            raise ValueError(str(error)) from error

    @field_validator("dtype", "device", mode="before")
    @classmethod
    def _spelled(cls, value: Any) -> Any:
        """A torch dtype or device, by its name."""
        return str(value).removeprefix("torch.") if isinstance(value, torch.dtype | torch.device | str) else value
