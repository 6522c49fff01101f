"""The seam to MiniStack: a moved hook fails with a message that says which and what to do."""

import re
from importlib.metadata import version
from pathlib import Path

import pytest

from localcloud import hooks


def test_every_hook_is_where_localcloud_expects_it() -> None:
    hooks.check()
    assert version("ministack") == hooks.WRITTEN_FOR


def test_moved_hook_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(hooks.HOOKS, "gone", hooks.Hook("ministack.services.stepfunctions", "_went_away"))
    wanted = re.escape("ministack.services.stepfunctions._went_away is gone")
    with pytest.raises(hooks.HookMoved, match=f"{wanted}.*pin ministack=={hooks.WRITTEN_FOR}"):
        hooks.check()


def test_changed_signature_is_a_moved_hook(monkeypatch: pytest.MonkeyPatch) -> None:
    changed = hooks.Hook("ministack.services.stepfunctions", "_start_execution", ("request", "context"))
    monkeypatch.setitem(hooks.HOOKS, "changed", changed)
    with pytest.raises(hooks.HookMoved, match=r"takes \(data\), no longer \(request, context\)"):
        hooks.check()


def test_only_hooks_touches_private_names() -> None:
    """Everything else in localcloud asks hooks for them."""
    package = Path(hooks.__file__).parent
    for module in package.rglob("*.py"):
        if module.name != "hooks.py":
            text = module.read_text()
            assert not re.search(r"^\s*(from|import) ministack", text, re.MULTILINE), module
            assert '"ministack.' not in text, module
