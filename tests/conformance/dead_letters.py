"""What every `DeadLetters` must do."""

import pytest

from functions._adapters.stores import Stores
from functions._core.errors import Rejected
from tests.conformance.suite import StoresSuite
from tests.support.builders import T0, make_letter, seconds


class DeadLettersSuite(StoresSuite):
    async def test_a_letter_is_read_back_as_it_was_put(self, stores: Stores) -> None:
        letter = make_letter(event={"id": "1", "data": {"ключ": ["🚀", None, 1.5, {"a": {}}]}}, flow_id="flow-1")
        await stores.dead_letters.put(letter)
        assert await stores.dead_letters.letter(letter.letter_id) == letter

    async def test_a_letter_that_is_not_there_is_none(self, stores: Stores) -> None:
        assert await stores.dead_letters.letter("letter-1") is None
        assert await stores.dead_letters.letters(None, 10) == ([], None)

    async def test_the_same_id_again_replaces_the_letter(self, stores: Stores) -> None:
        await stores.dead_letters.put(make_letter())
        again = make_letter(attempts=9, last_seen=T0 + seconds(900))
        await stores.dead_letters.put(again)
        assert await stores.dead_letters.letters(None, 10) == ([again], None)

    async def test_letters_come_in_pages_the_newest_first(self, stores: Stores) -> None:
        for number in range(1, 6):
            await stores.dead_letters.put(make_letter(number))
        seen, cursor = [], None
        while True:
            letters, cursor = await stores.dead_letters.letters(cursor, 2)
            assert len(letters) <= 2
            seen += [letter.letter_id for letter in letters]
            if cursor is None:
                break
            await stores.dead_letters.put(make_letter(100 + len(seen)))
        assert seen == ["letter-5", "letter-4", "letter-3", "letter-2", "letter-1"]

    async def test_a_page_goes_on_though_its_last_letter_was_dropped(self, stores: Stores) -> None:
        for number in range(1, 5):
            await stores.dead_letters.put(make_letter(number))
        _, cursor = await stores.dead_letters.letters(None, 2)
        await stores.dead_letters.drop("letter-3")
        assert await stores.dead_letters.letters(cursor, 2) == ([make_letter(2), make_letter(1)], None)

    async def test_dropping_a_letter_tells_whether_it_was_there(self, stores: Stores) -> None:
        await stores.dead_letters.put(make_letter())
        assert await stores.dead_letters.drop("letter-1") is True
        assert await stores.dead_letters.drop("letter-1") is False
        assert await stores.dead_letters.letter("letter-1") is None

    async def test_a_cursor_that_was_never_given_out_is_rejected(self, stores: Stores) -> None:
        with pytest.raises(Rejected) as refusal:
            await stores.dead_letters.letters("yesterday", 10)
        assert refusal.value.code == "invalid_cursor"
