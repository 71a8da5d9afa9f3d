"""Every registered fusion method, as laws that hold for all of them take it."""

from deepen_llm.fusion import METHODS, FusionMethod, named_method

OPTIONS: dict[str, dict[str, object]] = {"deepen": {"relr": 0.3}}  # so that the search moves tokens
BY_NAME: dict[str, FusionMethod] = {name: named_method({"method": name, **OPTIONS.get(name, {})}) for name in METHODS}
FUSIONS = list(BY_NAME.values())
