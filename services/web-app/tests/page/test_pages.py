"""What `app.api.pages` makes by itself."""

import json

import pytest

from app.api.pages import script_json


@pytest.mark.parametrize(
    "text", ["</script><script>alert(1)</script>", "<!--<script>", "]]>", "a & b", "\u2028\u2029", "ünïcode 🛡"]
)
def test_embedded_json_cannot_leave_its_element_and_says_the_same(text: str) -> None:
    embedded = str(script_json({"name": text}))
    assert not set("<>&\u2028\u2029") & set(embedded)
    assert json.loads(embedded) == {"name": text}
