"""The moves of the queue as SQL, and the questions it asks. Texts only: `queue.py` says when each is made.

The states that a move starts from are taken from `core.states`; the table's own CHECKs refuse the rest. The texts are
SQLite's; what stands in a comment `/*pg … */` is for PostgreSQL alone: see `postgres/dialect.py`.
"""

from datetime import timedelta

from gesso.core.states import LONGEST_LEASE, Event, sources

BLOCK_BITS, LARGE_BLOCK_BITS = 4, 12
LOCKED = "/*pg FOR UPDATE SKIP LOCKED*/"
"""Ends a sub-select of the rows that a move takes: two who look at once take different ones, and neither waits."""


def _from(event: Event) -> str:
    """The guard of a move: `state IN (…)`."""
    return "state IN (" + ", ".join(f"'{state}'" for state in sources(event)) + ")"


def _front(ready: int) -> str:
    return f"""(SELECT turn FROM requests WHERE state = 'in_queue' AND model_id = ?2 AND ready = {ready}
            AND priority = +?9 ORDER BY turn LIMIT 1)"""


# Owners take turns: a request comes a turn after its owner's last that waits, and not before the one in front. In front
# is what can start next: what waits for its pictures is, where nothing else is there.
ADD = f"""INSERT INTO requests (owner, model_id, id, language, input, pictures, ready, created_at, priority, start_by,
        webhook, webhook_intermediate, turn)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, now_us() + ?10, ?11, ?12, coalesce(
        (SELECT max(turn) FROM (SELECT coalesce({_front(1)}, {_front(0)}) AS turn UNION ALL SELECT max(turn) + 1
            FROM requests WHERE state = 'in_queue' AND owner = ?1 AND model_id = ?2 AND priority = +?9)
            AS fronts), 0))"""
GET = "SELECT * FROM requests WHERE id = ? AND owner = ?"
ENDED = "finished_at = max(now_us(), created_at), lease_until = NULL"
# A lease that ends later than any lease can last was given before the clock jumped back: it has ended too.
LEASE_ENDED = f"(lease_until <= now_us() OR lease_until > now_us() + {LONGEST_LEASE // timedelta(microseconds=1)})"
INTAKE_ENDED = LEASE_ENDED.replace("lease_until", "intake_until")
# One statement, because every statement takes and gives back SQLite's locks, which costs as much as the reading.
PLACE = f"""SELECT owner, state, seq, CASE state WHEN 'in_queue' THEN
    (SELECT coalesce(sum(count), 0) FROM waiting
        WHERE model_id = mine.model_id AND priority < mine.priority AND level = {LARGE_BLOCK_BITS})
  + (SELECT coalesce(sum(count), 0) FROM waiting WHERE model_id = mine.model_id AND priority = mine.priority
        AND level = {LARGE_BLOCK_BITS} AND block < mine.turn >> {LARGE_BLOCK_BITS})
  + (SELECT coalesce(sum(count), 0) FROM waiting WHERE model_id = mine.model_id AND priority = mine.priority
        AND level = {BLOCK_BITS} AND block < mine.turn >> {BLOCK_BITS}
        AND block >= (mine.turn >> {LARGE_BLOCK_BITS}) << {LARGE_BLOCK_BITS - BLOCK_BITS})
  + (SELECT count(*) FROM requests AS other WHERE state = 'in_queue' AND model_id = mine.model_id AND ready IN (0, 1)
        AND priority = mine.priority AND turn >= (mine.turn >> {BLOCK_BITS}) << {BLOCK_BITS}
        AND (turn, seq) < (mine.turn, mine.seq))
    END FROM requests AS mine WHERE id = ?"""
LENGTH = f"""SELECT coalesce(sum(count), 0) FROM waiting
    WHERE model_id = ? AND priority IN (0, 1, 2) AND level = {LARGE_BLOCK_BITS}"""
RENEW = f"""UPDATE requests SET lease_until = now_us() + ?
    WHERE id = ? AND attempt = ? AND state = 'in_progress' AND NOT {LEASE_ENDED} RETURNING seq"""
REMEMBER = """UPDATE requests SET remembered = ?
    WHERE id = ? AND attempt = ? AND state = 'in_progress' RETURNING seq"""
FINISH = f"""UPDATE requests SET state = 'completed', outcome = ?, {ENDED}
    WHERE id = ? AND attempt = ? AND {_from(Event.FINISH)} RETURNING owner"""
# The lease ends now. Handed back, the attempt does not count as lost; else the next claim or `give_up` counts it.
LET_GO = """UPDATE requests SET lease_until = now_us(), handed_back = ?
    WHERE id = ? AND attempt = ? AND state = 'in_progress' RETURNING seq"""
# The state stands here twice: SQLite finds the index by the plain comparison.
GIVE_UP = f"""UPDATE requests SET state = 'completed', outcome = ?, losses = losses + 1, {ENDED}
    WHERE state = 'in_progress' AND {_from(Event.GIVE_UP)} AND {LEASE_ENDED} AND handed_back = 0 AND losses + 1 >= ?
    RETURNING seq"""
REFUSE = f"""UPDATE requests SET state = 'completed', outcome = ?, {ENDED}
    WHERE id = ? AND {_from(Event.REFUSE)} AND ready = 0 RETURNING seq"""
CANCEL = f"""UPDATE requests SET state = 'cancelled', {ENDED}
    WHERE id = ? AND owner = coalesce(?, owner) AND {_from(Event.CANCEL)} RETURNING seq"""
EXPIRE = f"""UPDATE requests SET state = 'cancelled', outcome = ?, {ENDED}
    WHERE state = 'in_queue' AND {_from(Event.EXPIRE)} AND start_by <= now_us() RETURNING seq"""
# Who comes to the queue later than its number says, comes a turn after the one in front, and before its owner's later
# ones; nobody else's who is in front by then has to wait for it.
FRONT = """(SELECT front.turn FROM requests AS front WHERE front.state = 'in_queue' AND front.ready = 1
    AND front.model_id = requests.model_id AND front.priority = requests.priority AND front.seq <> requests.seq
    ORDER BY front.turn, front.seq LIMIT 1)"""
OWN = """FROM requests AS own WHERE own.state = 'in_queue' AND own.owner = requests.owner
    AND own.model_id = requests.model_id AND own.priority = requests.priority"""
COME_LATE = f"""UPDATE requests SET turn = coalesce((SELECT max(place) FROM (SELECT {FRONT} + 1 AS place
        UNION ALL SELECT (SELECT turn + 1 {OWN} AND own.seq < requests.seq ORDER BY own.seq DESC LIMIT 1)) AS places),
    turn) WHERE seq = ?"""
MOST_MOVED = 500
"""So many later ones of its owner give way to one that comes late; where more wait, it shares the turn of the next."""
CROWD = f"""SELECT count(*) FROM (SELECT 1 FROM requests CROSS JOIN requests AS own WHERE requests.seq = ?
    AND own.state = 'in_queue' AND own.owner = requests.owner AND own.model_id = requests.model_id
    AND own.priority = requests.priority AND own.seq > requests.seq LIMIT {MOST_MOVED + 1}) AS crowd"""
SQUEEZE_IN = f"""UPDATE requests SET turn = coalesce((SELECT max(place) FROM (SELECT {FRONT} AS place
        UNION ALL SELECT (SELECT turn {OWN} AND own.seq > requests.seq ORDER BY own.seq LIMIT 1)) AS places),
    turn) WHERE seq = ?"""
MAKE_ROOM = """WITH mine AS (SELECT seq, owner, model_id, priority, turn FROM requests WHERE seq = ?1),
    later AS (SELECT own.seq, own.turn FROM requests AS own CROSS JOIN mine WHERE own.state = 'in_queue'
        AND own.owner = mine.owner AND own.model_id = mine.model_id AND own.priority = mine.priority
        AND own.seq > mine.seq ORDER BY own.seq /*pg FOR UPDATE OF own*/),
    numbered AS (SELECT seq, turn, row_number() OVER (ORDER BY seq) AS place FROM later),
    moved AS (SELECT numbered.seq AS seq,
        place + max(mine.turn, max(numbered.turn - place) OVER (ORDER BY numbered.seq)) AS turn
        FROM numbered CROSS JOIN mine)
    UPDATE requests SET turn = moved.turn FROM moved WHERE requests.seq = moved.seq AND requests.turn < moved.turn"""
# Nothing waits for ever.
RAISE = f"""UPDATE requests SET priority = 1
    WHERE seq = (SELECT seq FROM requests WHERE state = 'in_queue' AND priority = 2 AND created_at <= now_us() - ?
        ORDER BY created_at LIMIT 1 {LOCKED}) RETURNING seq"""
OVERDUE = """SELECT EXISTS (SELECT 1 FROM requests WHERE state = 'in_queue' AND start_by <= now_us())
    OR EXISTS (SELECT 1 FROM requests WHERE state = 'in_queue' AND priority = 2 AND created_at <= now_us() - ?)"""
FETCHABLE = f"state = 'in_queue' AND ready = 0 AND (intake_until IS NULL OR {INTAKE_ENDED})"
TAKE_IN = f"""WITH front AS (SELECT seq FROM requests WHERE {FETCHABLE} ORDER BY seq LIMIT ?3 {LOCKED})
    UPDATE requests SET holder = ?1, intake_until = now_us() + ?2 WHERE seq IN (SELECT seq FROM front) RETURNING *"""
ANY_FETCHABLE = f"SELECT EXISTS (SELECT 1 FROM requests WHERE {FETCHABLE})"
FREEZE = """UPDATE requests SET pictures = ?, ready = 1, intake_until = NULL, ready_at = now_us()
    WHERE id = ? AND state = 'in_queue' AND ready = 0 RETURNING owner, seq"""
# Not in the statement above: among what it returns SQLite finds the front by no index.
IS_LATE = f"SELECT coalesce(turn < {FRONT}, 0 = 1) FROM requests WHERE seq = ?"
HOLDERS = """SELECT holder FROM requests WHERE state = 'in_progress' AND lease_until > now_us()
    UNION SELECT holder FROM requests WHERE state = 'in_queue' AND ready = 0 AND intake_until > now_us()"""
EXPIRED = f"SELECT EXISTS (SELECT 1 FROM requests WHERE state = 'in_progress' AND {LEASE_ENDED})"
END_LEASES = "UPDATE requests SET lease_until = now_us() WHERE state = 'in_progress' AND holder = ? RETURNING seq"
END_INTAKE = """UPDATE requests SET intake_until = NULL
    WHERE state = 'in_queue' AND ready = 0 AND intake_until IS NOT NULL AND holder = ? RETURNING seq"""


def any_fetchable(busy: int) -> str:
    """Whether `take_in` has anything to take; the same owners first among its values."""
    return f"{_firsts(busy)} SELECT EXISTS (SELECT 1 FROM firsts WHERE seq IS NOT NULL)" if busy else ANY_FETCHABLE


def take_in(busy: int) -> str:
    """`TAKE_IN` but of so many busy owners, who come first among the values; of each other owner one."""
    if not busy:
        return TAKE_IN
    return f"""{_firsts(busy)}, front AS (SELECT seq FROM requests WHERE {FETCHABLE} AND seq IN (
            SELECT seq FROM firsts WHERE seq IS NOT NULL ORDER BY seq LIMIT ?{busy + 3}) {LOCKED})
        UPDATE requests SET holder = ?{busy + 1}, intake_until = now_us() + ?{busy + 2}
        WHERE seq IN (SELECT seq FROM front) RETURNING *"""


def _firsts(busy: int) -> str:
    """The first fetchable request of each owner who is not busy, owner by owner: not past all of one's."""
    marks = ", ".join(f"?{number}" for number in range(1, busy + 1))
    return f"""WITH RECURSIVE owners (owner) AS (
        SELECT * FROM (SELECT owner FROM requests WHERE state = 'in_queue' AND ready = 0 ORDER BY owner LIMIT 1) AS one
        UNION ALL SELECT (SELECT more.owner FROM requests AS more WHERE more.state = 'in_queue' AND more.ready = 0
            AND more.owner > owners.owner ORDER BY more.owner LIMIT 1) FROM owners WHERE owners.owner IS NOT NULL),
    firsts (seq) AS (SELECT (SELECT theirs.seq FROM requests AS theirs WHERE theirs.owner = owners.owner AND {FETCHABLE}
            ORDER BY theirs.owner, theirs.seq LIMIT 1)
        FROM owners WHERE owners.owner IS NOT NULL AND owners.owner NOT IN ({marks}))"""


def candidate(models: int, lock: str = "") -> str:
    """The `seq` that comes next: an ended lease, else the front of a queue. One index probe a model.

    Of several fronts the most urgent goes first; then one whose owner is another than the last time; then the first.
    """
    fronts = " UNION ALL ".join(
        f"""SELECT * FROM (SELECT seq, priority, owner, {number} AS place FROM requests WHERE state = 'in_queue'
            AND model_id = ? AND ready = 1 AND (start_by IS NULL OR start_by > now_us())
            ORDER BY priority, turn, seq LIMIT 1 {lock}) AS front"""
        for number in range(models)
    )
    marks = ", ".join("?" * models)
    return f"""coalesce(
        (SELECT seq FROM requests WHERE state = 'in_progress' AND {LEASE_ENDED} AND model_id IN ({marks})
            AND losses + 1 - handed_back < ? ORDER BY lease_until LIMIT 1 {lock}),
        (SELECT seq FROM ({fronts}) AS fronts ORDER BY priority, owner = ?, place LIMIT 1))"""


def next_row(models: int) -> str:
    """The row that a claim of so many *models* would take."""
    return f"SELECT * FROM requests WHERE seq = {candidate(models)}"


def claim_row(models: int) -> str:
    """The claim: one statement covers waiting requests and ended leases."""
    return f"""UPDATE requests SET state = 'in_progress', attempt = attempt + 1,
            losses = losses + (state = 'in_progress' AND handed_back = 0)/*pg ::INTEGER*/, handed_back = 0,
            holder = ?, lease_until = now_us() + ?, started_at = coalesce(started_at, now_us())
        WHERE seq = {candidate(models, LOCKED)} AND {_from(Event.CLAIM)} RETURNING *"""
