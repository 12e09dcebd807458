"""A memo holds what is in use, and never more than it may."""

from inference_host.values.memo import Memo


def test_what_was_remembered_is_found() -> None:
    memo: Memo[str, int] = Memo(2)
    assert memo.remember("a", 1) == 1
    assert memo.get("a") == 1


def test_a_full_memo_forgets_and_takes_the_newest_in() -> None:
    memo: Memo[int, int] = Memo(3)
    for key in range(100):
        memo.remember(key, key)
        assert len(memo) <= 3
        assert memo[key] == key
