"""Members on GPUs: the plan is pure arithmetic, so that its laws hold where there is no GPU."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedModel
from transformers.integrations.accelerate import _get_device_map

from deepen_llm import EnsembleLLM, MemberConfig, specialists
from deepen_llm.errors import ConfigError
from deepen_llm.members.local import loading
from deepen_llm.members.local.checkpoint import Checkpoint, _largest_block, _size
from deepen_llm.members.local.placement import Footprint, Share, assign, free_gpu_memory, occupied, place
from tests.models import CONFIGS, small

GB = 10**9
SIZES = st.tuples(st.integers(1, 200 * GB), st.integers(0, 4 * GB))
FOOTPRINTS = st.lists(SIZES.map(lambda sizes: Footprint(*sizes)), min_size=1, max_size=6)
GPUS = st.dictionaries(st.integers(0, 7), st.integers(0, 150 * GB), max_size=5)
planned = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # which a busy machine is


def weights(*sizes: float) -> list[Footprint]:
    return [Footprint(int(size * GB), int(size * GB) // 40) for size in sizes]


def gpus(*sizes: float) -> dict[int, int]:
    return {gpu: int(size * GB) for gpu, size in enumerate(sizes)}


@planned
@given(FOOTPRINTS, GPUS, st.sampled_from([5, 25]))
def test_no_gpu_is_given_more_than_is_free(members: list[Footprint], free: dict[int, int], margin: int) -> None:
    shares = assign(members, free, margin)
    assert len(shares) == len(members)
    for gpu, bytes_ in free.items():
        assert sum(occupied(share[gpu], margin) for share in shares if gpu in share) <= bytes_
    assert all(share.keys() <= free.keys() for share in shares)


@planned
@given(FOOTPRINTS, GPUS)
def test_a_share_holds_its_member_with_a_block_to_lose_on_each_gpu(
    members: list[Footprint], free: dict[int, int]
) -> None:
    for member, share in zip(members, place(members, free), strict=True):
        lost = (len(share) + 1) * member.block if len(share) > 1 else 0
        assert sum(share.values()) == (member.weights + lost if share else 0)


@planned
@given(FOOTPRINTS, GPUS, st.sampled_from([5, 25]))
def test_the_largest_choose_first(members: list[Footprint], free: dict[int, int], margin: int) -> None:
    smallest = min(range(len(members)), key=lambda i: (members[i].weights, -i))
    fewer = members[:smallest] + members[smallest + 1 :]
    shares = assign(members, free, margin)
    assert shares[:smallest] + shares[smallest + 1 :] == assign(fewer, free, margin)


@planned
@given(FOOTPRINTS, GPUS)
def test_a_plan_repeats_and_asks_nothing_of_the_order_of_gpus(members: list[Footprint], free: dict[int, int]) -> None:
    assert place(members, free) == place(members, dict(reversed(free.items())))


@planned
@given(FOOTPRINTS)
def test_where_there_is_room_all_members_have_one_gpu_each(members: list[Footprint]) -> None:
    assert all(len(share) == 1 for share in place(members, gpus(10_000)))
    assert place(members, {}) == [{}] * len(members)


@pytest.mark.parametrize(
    ("members", "free", "where"),
    [
        (weights(16, 14, 1), gpus(80), [[0], [0], [0]]),
        (weights(1, 14, 16), gpus(24, 24), [[1], [1], [0]]),
        (weights(14, 14), gpus(24, 24), [[0], [1]]),
        (weights(14, 14), gpus(20, 40), [[1], [1]]),
        (weights(14, 140, 14), gpus(80, 80, 80), [[2], [0, 1, 2], [2]]),
        (weights(150, 14), gpus(80, 80), [[], [0]]),  # what fits on none leaves its room to the others
        (weights(14, 14), gpus(30.5), [[0], [0]]),  # for lack of room with the smaller margin
        (weights(14, 14), gpus(28), [[0], []]),
        (weights(0.01, 0.01), gpus(0.1), [[], []]),
        (weights(14), gpus(24, 0), [[0]]),
    ],
)
def test_where_members_go(members: list[Footprint], free: dict[int, int], where: list[list[int]]) -> None:
    assert [sorted(share) for share in place(members, free)] == where


def skeleton(architecture: str) -> PreTrainedModel:
    config = CONFIGS[architecture](vocab_size=700, bos_token_id=None, pad_token_id=None)
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)


@pytest.mark.parametrize("architecture", ["llama", "gpt_neox", "gpt2", "gemma", "mpt"])
@pytest.mark.parametrize("share", [0.45, 0.6, 0.9])
def test_accelerate_puts_a_whole_member_on_its_share(architecture: str, share: float) -> None:
    model = skeleton(architecture)
    footprint = Footprint(_size(model, model, None), _largest_block(model, None))
    room = int(footprint.weights * share) + 3 * footprint.block
    shares = assign([footprint], {0: occupied(room, 5), 1: occupied(room, 5), 3: occupied(room // 2, 5)}, 5)
    if len(shares[0]) == 1:
        shares = [{0: footprint.weights * 3 // 4 + 3 * footprint.block, 3: footprint.weights // 2}]
    device_map = _get_device_map(model, "sequential", dict(shares[0]), None)
    assert set(device_map.values()) <= set(shares[0])
    sizes = dict.fromkeys(shares[0], 0)
    for name, gpu in device_map.items():
        sizes[gpu] += _size(model, model.get_submodule(name), None)
    assert all(sizes[gpu] <= bytes_ for gpu, bytes_ in shares[0].items())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_footprint_is_what_the_weights_take(dtype: str) -> None:
    for path in specialists.paths():
        config = MemberConfig(path=str(path), dtype=dtype)
        footprint = Checkpoint(config).footprint()
        model: Any = loading.load_member(config).model
        whole = {tensor.data_ptr(): tensor.nbytes for tensor in (*model.parameters(), *model.buffers())}
        assert footprint.weights == sum(whole.values())
        assert max(tensor.nbytes for tensor in model.parameters()) <= footprint.block < footprint.weights


@pytest.mark.parametrize("vocabulary", [100, 10_000])
def test_a_block_is_a_layer_or_a_large_embedding(vocabulary: int) -> None:
    config = LlamaConfig(
        hidden_size=64, intermediate_size=256, num_hidden_layers=3, num_attention_heads=4, vocab_size=vocabulary
    )
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    layer = _size(model, model.model.layers[0], None)
    assert _largest_block(model, None) == max(layer, vocabulary * 64 * 4)


@pytest.fixture
def folders(tmp_path: Path) -> list[str]:
    made = []
    for architecture, kind in (("llama", "byte_level_bpe"), ("gpt_neox", "sentencepiece_bpe")):
        for part in small(architecture, kind):
            part.save_pretrained(tmp_path / architecture)
        made.append(str(tmp_path / architecture))
    return made


class Recorder:
    """Stands in for GPUs: notes where members would go, and loads them on the CPU."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, free: dict[int, int]) -> None:
        self.shares: list[tuple[str, Share | None]] = []
        load = loading._load

        def record(source: Checkpoint, share: Share | None) -> Any:
            self.shares.append((source.source.label, share))
            return load(source, None if share is None else {})

        monkeypatch.setattr(loading, "_load", record)
        monkeypatch.setattr(loading, "free_gpu_memory", lambda: free)


def test_a_device_of_ones_own_comes_first(folders: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(monkeypatch, gpus(4, 8))
    EnsembleLLM.from_pretrained([folders[0], MemberConfig(path=folders[1], device="cpu"), folders[1]])
    assert recorder.shares[0] == ("gpt_neox", None)
    assert [(name, list(share or ())) for name, share in recorder.shares[1:]] == [("llama", [1]), ("gpt_neox", [1])]


def test_members_keep_their_order_and_their_configuration(folders: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    Recorder(monkeypatch, gpus(8))
    configs = [
        MemberConfig(path=folders[0]),
        MemberConfig(path=folders[1], device="cpu"),
        MemberConfig(path=folders[0]),
    ]
    members = loading.load_members(configs)
    assert [member.source for member in members] == configs


def test_a_member_that_fits_on_no_gpu_goes_to_the_cpu_with_a_warning(
    folders: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Recorder(monkeypatch, gpus(0.1, 0.2))
    with pytest.warns(UserWarning, match=r"fits on no GPU \(free: cuda:0 0.1 GB, cuda:1 0.2 GB\): it goes to the CPU"):
        member = loading.load_member(MemberConfig(path=folders[0]))
    assert member.device.type == "cpu"


def test_a_split_without_accelerate_says_what_is_missing(folders: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    Recorder(monkeypatch, gpus(1, 1))
    monkeypatch.setattr(loading, "place", lambda footprints, free: [{0: 1, 1: 1}])
    monkeypatch.setattr(loading, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="fits on no GPU alone, and to split it needs accelerate"):
        loading.load_member(MemberConfig(path=folders[0]))


def test_free_memory_leaves_room_for_the_caches_of_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda gpu: ((70 * GB, 80 * GB), (1 * GB, 80 * GB))[gpu.index])
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda gpu: (0, 70 * GB)[gpu.index])
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda gpu: (0, 60 * GB)[gpu.index])
    assert free_gpu_memory() == {0: 66.5 * GB, 1: 0}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert free_gpu_memory() == {}
