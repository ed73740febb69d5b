-- Marks the file as ours ("whst"), so that another program's database is refused instead of being added to.
PRAGMA application_id = 2003334004;

-- The ledger: one row for each paid call. Small columns come first, so that sums never read an answer's overflow pages.
CREATE TABLE calls (
    id             INTEGER PRIMARY KEY,
    key            BLOB    NOT NULL UNIQUE,
    cycle          BLOB    NOT NULL,
    phase          TEXT    NOT NULL,
    purpose        TEXT    NOT NULL,
    scenario       TEXT,
    model          TEXT    NOT NULL,
    input_tokens   INTEGER NOT NULL,
    cached_tokens  INTEGER NOT NULL,
    output_tokens  INTEGER NOT NULL,
    -- An exact decimal; NULL when the price is not known.
    cost           TEXT,
    latency_us     INTEGER NOT NULL,
    -- Microseconds since 1970, by the clock of the database.
    recorded_at    INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER) * 1000),
    provider       TEXT    NOT NULL,
    endpoint       TEXT    NOT NULL,
    provider_model TEXT    NOT NULL,
    answer         TEXT    NOT NULL
) STRICT;

CREATE INDEX calls_by_cycle ON calls (cycle);

-- One row for each cycle of an object, from the moment it is opened.
CREATE TABLE cycles (
    id              INTEGER PRIMARY KEY,
    object          TEXT    NOT NULL,
    hash            BLOB    NOT NULL,
    champion        BLOB    NOT NULL,
    started_at      INTEGER NOT NULL,
    -- NULL while the cycle runs, and after a kill until it is resumed.
    ended_at        INTEGER,
    verdict         TEXT,
    champion_scores TEXT,
    -- What the cycle was told of earlier ones, pinned when it was opened; NULL once pruned.
    memory          TEXT,
    -- NULL until the end, and once pruned.
    report          TEXT,
    UNIQUE (object, hash)
) STRICT;

CREATE TABLE versions (
    id         INTEGER PRIMARY KEY,
    object     TEXT    NOT NULL,
    name       TEXT    NOT NULL,
    hash       BLOB    NOT NULL,
    parent     TEXT,
    phase      TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    addresses  TEXT    NOT NULL,
    diff       TEXT    NOT NULL,
    text       TEXT    NOT NULL,
    UNIQUE (object, hash),
    UNIQUE (object, name)
) STRICT;

CREATE TABLE scores (
    cycle     INTEGER NOT NULL REFERENCES cycles (id) ON DELETE CASCADE,
    prompt    BLOB    NOT NULL,
    dimension TEXT    NOT NULL,
    scenario  TEXT    NOT NULL,
    mean      REAL    NOT NULL,
    samples   INTEGER NOT NULL,
    PRIMARY KEY (cycle, prompt, dimension, scenario)
) STRICT, WITHOUT ROWID;

CREATE TABLE clusters (
    cycle    INTEGER NOT NULL REFERENCES cycles (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    name     TEXT    NOT NULL,
    label    TEXT    NOT NULL,
    rule     TEXT    NOT NULL,
    weight   REAL    NOT NULL,
    size     INTEGER NOT NULL,
    examples TEXT    NOT NULL,
    PRIMARY KEY (cycle, position)
) STRICT;

CREATE TABLE rejected_patches (
    cycle    INTEGER NOT NULL REFERENCES cycles (id) ON DELETE CASCADE,
    position INTEGER NOT NULL,
    prompt   BLOB    NOT NULL,
    patch    TEXT    NOT NULL,
    reason   TEXT    NOT NULL,
    PRIMARY KEY (cycle, position)
) STRICT;
