"""The balancer's limits: requests of an address are counted, those for the feed apart from the others."""

import json

from . import stack

# From a host of the stack, whose address is nobody else's: what is counted here is not taken from other tests.
CROWD = """
import collections, concurrent.futures, http.client, json, ssl, sys

def ask(_):
    connection = http.client.HTTPSConnection("vuls-lb", 443, context=ssl._create_unverified_context(), timeout=30)
    answers = []
    for _ in range(int(sys.argv[2])):
        connection.request("GET", sys.argv[1])
        answer = connection.getresponse()
        answers.append((answer.status, answer.headers.get("Retry-After"), answer.read().decode()))
        if answer.status == 429:
            break
    return answers

with concurrent.futures.ThreadPoolExecutor(40) as pool:
    answers = [answer for found in pool.map(ask, range(40)) for answer in found]
print(json.dumps({"statuses": collections.Counter(status for status, _, _ in answers),
                  "refused": next(([wait, body] for status, wait, body in answers if status == 429), None)}))
"""


def crowd(path: str, times: int) -> tuple[dict[str, int], list[str] | None]:
    """Have 40 clients ask so many times each, or until one is refused.

    Return how often each status came, and one refusal with its Retry-After and its body.
    """
    answer = json.loads(stack.must(stack.on("vuls-worker", "python3", "-c", CROWD, path, str(times), timeout=180)))
    return answer["statuses"], answer["refused"]


def test_four_hundred_handshakes_of_one_address_at_once_all_get_to_an_instance() -> None:
    statuses, refused = crowd("/api/events", 10)
    assert (statuses, refused) == ({"401": 400}, None)


def test_too_many_requests_are_told_when_to_come_back() -> None:
    # Over the limit for long enough: a slow machine gets 400 answers within what may come at once and in these seconds.
    statuses, refused = crowd("/health", 200)
    assert set(statuses) == {"200", "429"}
    assert refused is not None
    wait, body = refused
    assert (wait, json.loads(body)["code"]) == ("1", "too_many_requests")
