"""What holds for every test."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def own_module_cache(tmp_path_factory, monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers copies modeling code before it imports it: not into the user's own cache.

    One folder for all tests of a process, since Python remembers where `transformers_modules` lies.
    """
    import transformers.dynamic_module_utils as dynamic

    monkeypatch.setattr(dynamic, "HF_MODULES_CACHE", str(tmp_path_factory.getbasetemp() / "hf_modules"))
