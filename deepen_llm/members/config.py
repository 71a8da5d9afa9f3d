"""The configuration of a member: its checkpoint, and how it is loaded."""

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
"""How weights are quantized while they are loaded: the package and the format."""


class Placement(TypedDict, total=False):
    """How members given by path alone are loaded; see `MemberConfig`. A list of devices has one for each member."""

    dtype: str | torch.dtype
    device: str | torch.device | Sequence[str | torch.device]
    device_map: str | None
    quantization: Quantization | None
    compile: bool
    trust_remote_code: bool
    safetensors_only: bool


class MemberConfig(Options):
    """The checkpoint of a member, and how it is loaded.

    Attributes:
        path: A local folder or a hub id.
        name: Its name in errors and traces; by default the path's last part.
        revision: The hub revision.
        dtype: A torch dtype, or ``auto``: that of the checkpoint, but float32 for float16 on a CPU, where float16 is
            slow.
        device: A torch device, or ``auto``: an ensemble's members are placed, the largest first, on the GPU with most
            free memory. A member that fits on no single GPU is split over several; one that does not fit on all of them
            goes to the CPU, with a warning. Without a GPU, all go to the CPU.
        device_map: Accelerate's ``device_map``, to spread one member over devices, in place of ``device``.
        quantization: Quantize the linear layers' weights while they are loaded: ``bnb-int8`` (LLM.int8) and ``bnb-nf4``
            (4 bits) by bitsandbytes, ``torchao-int8`` (8 bits) by torchao. Leave it out for checkpoints that are
            quantized already.
        compile: Compile one-token steps with ``torch.compile``: the first one takes about a minute, and each launches
            fewer kernels.
        trust_remote_code: Run code that comes with the checkpoint.
        safetensors_only: Refuse weights in pickle formats, which can run code.
        chat_template_kwargs: Variables for the member's chat template, such as ``enable_thinking: false``; a call's
            variables override them.
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
        """The member's name in errors and traces."""
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
