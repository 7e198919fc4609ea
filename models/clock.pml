/*
 * Leases by counter, with time: one holder, one observer, a database that may go away. Time is counted in ticks.
 *
 *     spin -a models/clock.pml && gcc -O2 -DSAFETY -DNOREDUCE -o pan pan.c && ./pan -m50000
 *
 * Lease: the observer expires the holder only after the holder's lease is over by the holder's own clock. `lease.pml` takes
 *        this for given.
 * Calm:  a holder that renews as soon as the database lets it is never expired, however long the database is away.
 *        -DLEASE_ONLY leaves it out, and is harsher on Lease.
 *
 * B1  A ttl is 6 ticks, so that its sixth (a renewal) is one tick and its third (the observer's gap) is two.
 * B2  The clocks' rates differ by a bounded share: in all, SLOW ticks pass for the observer and not for the holder. MARGIN is
 *     what silence is longer than a ttl by, for their sake.
 * B3  Clocks are read exactly, at ticks; whatever happens between two of them happens in any order.
 * B4  The database is away once in what is looked at, for as long as it likes. The gap is measured between the ends of two
 *     readings, so a reading that is slow to end can hide an outage of two gaps; two such outages within one ttl are 4 + 4
 *     ticks of silence that is nobody's fault, and OUTAGES=2 breaks Calm (never Lease).
 */

#define TTL 6
#define GAP 2
#ifndef SLOW
#define SLOW 1
#endif
#ifndef MARGIN
#define MARGIN SLOW
#endif
#define SILENCE (TTL + MARGIN)
#ifndef OUTAGES
#define OUTAGES 1
#endif
/*
 * An age in ticks may fall short of the true one by a tick. Calm takes the code's "longer than". Lease is looked at with the
 * harsher "as long as": an observer that acts a tick earlier than the code can.
 */
#ifdef LEASE_ONLY
#define IS_LONG(age) (age >= SILENCE)
#else
#define IS_LONG(age) (age > SILENCE)
#endif
#define MOST (SILENCE + 2) /* ages stop counting here: older is old */

bit healthy;    /* this holder has no fault of its own: it renews in every tick in which the database is there throughout */
bit away;       /* no writing transaction is served */
byte outages;
byte slow;
bit expired;

byte held;      /* ticks left of the lease, by the holder's clock; 0: over */
byte renewal;   /* 0 none, 1 sent, 2 committed: its answer is on its way */
byte sent_ago;  /* by the holder's clock */
bit was_away;   /* in this tick the database was away for a moment; known where it matters: for a healthy holder */
bit spoke;      /* in this tick a renewal was committed; the same */

byte reading;   /* 0 none, 1 begun, 2 the snapshot is taken, 3 silent: about to expire the holder */
byte begun_ago;
bit known;      /* the observer has seen a value of the counter… */
byte seen_ago;  /* …first so long ago, by its own clock */
byte read_ago;  /* when its last reading ended */
bit stands;     /* the counter still has that value */
bit snap_stands;  /* it had it in the snapshot */
bit snap_current; /* and has not moved since the snapshot */

inline older(age) {
    if
    :: age < MOST -> age++
    :: else
    fi
}

inline tick_of_holder() {
    if
    :: held > 0 -> held--
    :: else
    fi;
    older(sent_ago)
}

inline tick_of_observer() { older(begun_ago); older(seen_ago); older(read_ago) }

proctype Time() {
end:
    do
    :: d_step {
        !expired && (!healthy || was_away || spoke) ->
        tick_of_holder(); tick_of_observer(); was_away = healthy && away; spoke = 0;
        printf("MSC: a tick\n") }
    /* Not a tick in which a renewal would have been due. */
    :: d_step { !expired && slow > 0 -> slow--; tick_of_observer(); printf("MSC: a tick of the observer only\n") }
    od
}

proctype Database() {
end:
    do
    :: d_step { !expired && !away && outages > 0 -> outages--; away = 1; was_away = healthy;
        printf("MSC: the database goes away\n") }
    :: d_step { away -> away = 0; printf("MSC: the database is back\n") }
    od
}

/* The holder is paused, slow or cut off whenever nothing of this is scheduled; a healthy one by the database only. */
proctype Holder() {
end:
    do
    :: d_step { !expired && renewal == 0 -> renewal = 1; sent_ago = 0; printf("MSC: the holder sends a renewal\n") }
    :: d_step { !expired && renewal == 1 && !away -> renewal = 2; spoke = healthy; stands = 0; snap_current = 0;
        printf("MSC: it is committed\n") }
    :: d_step { renewal == 1 && away -> renewal = 0 } /* refused: it sends another */
    :: d_step {
        renewal == 2 ->
        renewal = 0; printf("MSC: the holder has its answer\n");
        if
#ifdef HOLDER_COUNTS_FROM_ANSWER
        :: true -> held = TTL
#else
        :: TTL > sent_ago && TTL - sent_ago > held -> held = TTL - sent_ago
        :: else /* answered after its own end, it renews nothing */
#endif
        fi }
    :: d_step { renewal == 2 -> renewal = 0 } /* the answer is lost */
    od
}

proctype Observer() {
end:
    do
    :: d_step { !expired && reading == 0 -> reading = 1; begun_ago = 0; printf("MSC: the observer begins a reading\n") }
    /* A reading is a writing transaction: on SQLite readers get through while a stopped process keeps all writers out. */
#ifdef READ_WITHOUT_WRITING
    :: d_step { reading == 1 -> reading = 2; snap_stands = stands; snap_current = 1;
        printf("MSC: it has its snapshot\n") }
#else
    :: d_step { reading == 1 && !away -> reading = 2; snap_stands = stands; snap_current = 1;
        printf("MSC: it has its snapshot\n") }
#endif
    :: d_step { reading == 1 && away -> reading = 0 } /* refused: no reading, no judgement */
    :: d_step {
        reading == 2 ->
        reading = 0;
#ifndef NO_GAP_RULE
        if
        :: read_ago > GAP -> known = 0
        :: else
        fi;
#endif
        read_ago = 0; printf("MSC: the reading ends\n");
        if
        :: known && snap_stands && IS_LONG(seen_ago) -> reading = 3
        :: known && snap_stands && !IS_LONG(seen_ago)
        :: else ->
            known = 1; stands = snap_current;
#ifdef OBSERVER_COUNTS_FROM_BEFORE
            seen_ago = begun_ago
#else
            seen_ago = 0
#endif
        fi;
        snap_stands = 0; snap_current = 0 }
    /* `where heartbeat = seen`: it expires nobody who has spoken since. */
    :: d_step {
        reading == 3 && !away ->
        reading = 0;
        if
#ifdef NO_HEARTBEAT_SWAP
        :: true ->
#else
        :: stands ->
#endif
            printf("MSC: the holder is expired; its lease has %d ticks left\n", held);
            if
            :: held > 0 -> printf("MSC: Lease\n"); assert(false) /* Lease */
#ifndef LEASE_ONLY
            :: healthy -> printf("MSC: Calm\n"); assert(false) /* Calm */
#endif
            :: else
            fi;
            expired = 1
#ifndef NO_HEARTBEAT_SWAP
        :: else
#endif
        fi }
    od
}

init {
    atomic {
        outages = OUTAGES; slow = SLOW; read_ago = MOST;
#ifndef LEASE_ONLY
        if
        :: healthy = 1
        :: true
        fi;
#endif
        run Time(); run Database(); run Holder(); run Observer()
    }
}
