"""Which runs may go on beside others: no host twice, no zone and no hypervisor above its limit."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from app.domain.room import Limits, Place, Room

places = st.lists(
    st.builds(
        Place,
        host_id=st.integers(1, 12),
        zone=st.sampled_from([None, "default", "dmz", "lab"]),
        group=st.sampled_from([None, "rack-1", "rack-2"]),
    ),
    max_size=40,
)
limits = st.builds(
    Limits,
    zones=st.dictionaries(st.sampled_from(["default", "dmz"]), st.integers(1, 4)),
    group=st.integers(0, 3),
)


def chosen(limit: Limits, taken: list[Place], wanted: list[Place]) -> list[Place]:
    room = Room(limit, taken)
    return [place for place in wanted if room.take(place)]


@given(limits, places)
def test_no_limit_is_passed_and_nothing_waits_without_need(limit: Limits, wanted: list[Place]) -> None:
    sent = chosen(limit, [], wanted)
    zones, groups = Counter(place.zone for place in sent), Counter(place.group for place in sent)
    hosts = Counter(place.host_id for place in sent)
    assert max(hosts.values(), default=0) <= 1
    assert all(zones[zone] <= most for zone, most in limit.zones.items())
    assert limit.group == 0 or all(count <= limit.group for group, count in groups.items() if group)
    for place in wanted:
        full_zone = place.zone is not None and zones[place.zone] >= limit.zones.get(place.zone, 1000)
        full_group = place.group is not None and 0 < limit.group <= groups[place.group]
        assert hosts[place.host_id] or full_zone or full_group


@given(limits, places, places)
def test_what_is_taken_counts_as_if_it_had_come_first(limit: Limits, taken: list[Place], wanted: list[Place]) -> None:
    first = chosen(limit, [], taken)
    assert first + chosen(limit, first, wanted) == chosen(limit, [], first + wanted)


def test_a_full_hypervisor_does_not_stop_the_runs_behind_it() -> None:
    wanted = [Place(1, "default", "rack-1"), Place(2, "default", "rack-1"), Place(3, "default", "rack-2")]
    assert chosen(Limits(group=1), [], wanted) == [wanted[0], wanted[2]]
