/*
 * What happens before there is an operation: a request as a transaction that may run twice, on a copy of the database that may
 * lag, and beside a request that its conditions ask about.
 *
 *     spin -a models/request.pml && gcc -O2 -DSAFETY -DNOREDUCE -o pan pan.c && ./pan
 *
 * Once:         a request is carried out at most once, and is answered 202 if and only if it is.
 * Linearizable: a refusal was true at some instant between the question and the answer.
 * Transitions:  no volume is being deleted that has a snapshot.
 *
 * C1  The row's committed versions are numbered; a copy has the first so many of them. First committer wins: a transaction that
 *     writes the row commits only if nothing newer than its snapshot is there. One that writes nothing cannot lose.
 * C2  A barrier waits until the copy has everything that was committed before.
 * C3  Statements are indivisible, and see what was committed when they began (READ COMMITTED). An UPDATE that waited for a row
 *     looks at that row again, and at nothing else.
 */

#ifndef FAULTS
#define FAULTS 2
#endif
#define VERSIONS 12

#define CREATING 0
#define AVAILABLE 1
#define EXTENDING 2

/* ONCE_ONLY leaves Linearizable out, to see what else there is. */
#ifdef ONCE_ONLY
#define LOOK_AT_EXCUSE false
#else
#define LOOK_AT_EXCUSE true
#endif

/* --- one request, by an API process ------------------------------------------------------------------------------------ */

byte newest;             /* the number of the newest version */
byte status[VERSIONS];   /* the row's */
bit known[VERSIONS];     /* tx_done has the transaction's id */
byte carried_out;        /* ghost: how often */
bit excuse;              /* ghost: since the question, the volume was not available for a moment */
byte faults;

inline commit(new_status) {
    newest++;
    status[newest] = new_status;
    known[newest] = known[newest - 1];
    excuse = excuse || new_status != AVAILABLE
}

/* What was accepted before runs to its end; and somebody else asks for an extend, too. */
proctype Others() {
    bit asked;
end:
    do
    :: d_step { !asked && status[newest] == AVAILABLE ->
        asked = 1; commit(EXTENDING); printf("MSC: another request is carried out\n") }
    :: d_step { status[newest] != AVAILABLE -> commit(AVAILABLE); printf("MSC: the volume is available\n") }
    od
}

/* An extend: 202 when the volume is available, else 409. The copy that serves it has at least the first `has` versions. */
proctype Extend() {
    byte has;     /* a copy may be behind by any number of versions, and catch up by any */
    bit barrier;  /* the next look is at the present */
    bit found;    /* what it looks at */
    byte seen;
    byte looked;  /* its snapshot */
    d_step { excuse = status[newest] != AVAILABLE; has = 0 }
again:
    atomic {
        looked = has;
        do
        :: looked < newest -> looked++
        :: true -> break
        od;
        if
        :: barrier -> looked = newest
        :: else
        fi;
        has = looked; found = known[looked]; seen = status[looked]
    }
#ifdef NO_TXID
    found = 0;
#endif
    if
    :: found -> goto accepted
    :: !found && seen == AVAILABLE ->
        if
        :: atomic { looked != newest -> has = newest; looked = 0; goto again } /* somebody was first: run again */
        :: atomic {
            looked == newest ->
            commit(EXTENDING); known[newest] = 1; carried_out++; has = newest; looked = 0;
            printf("MSC: the request is carried out\n") }
            if
            :: goto accepted
            :: atomic {
                faults > 0 ->
                faults--; has = 0; /* another copy serves the repeat */
#ifndef NO_BARRIER_AFTER_ERROR
                barrier = 1;
#endif
                printf("MSC: committed, and the answer is lost\n") }
                goto again
            fi
        :: atomic { faults > 0 -> faults--; has = 0; printf("MSC: not committed, and nobody knows\n") }
            goto again
        fi
    :: !found && seen != AVAILABLE ->
#ifdef NO_BARRIER_BEFORE_MISS
        goto refused
#else
        if
        :: barrier -> goto refused
        :: else -> barrier = 1; goto again /* a miss is not proof */
        fi
#endif
    fi;
accepted:
    atomic {
        printf("MSC: it is answered 202\n");
        if
        :: carried_out != 1 -> printf("MSC: Once: answered 202, carried out %d times\n", carried_out); assert(false) /* Once */
        :: else
        fi
    }
    goto out;
refused:
    atomic {
        printf("MSC: it is answered 409\n");
        if
        :: carried_out > 0 -> printf("MSC: Once: answered 409, and carried out\n"); assert(false) /* Once */
        :: !carried_out && !excuse && LOOK_AT_EXCUSE -> printf("MSC: Linearizable\n"); assert(false) /* Linearizable */
        :: else
        fi
    };
out:
    skip
}

/* --- two requests that ask about each other ------------------------------------------------------------------------------ */

bit locked;    /* the volume's row is */
bit deleting;  /* as committed */
bit snapshots; /* as committed */

inline check_transitions() {
    if
    :: deleting && snapshots -> printf("MSC: Transitions\n"); assert(false) /* Transitions */
    :: else
    fi
}

/* Delete the volume, unless it has snapshots. */
proctype Delete() {
    bit answer;
#ifdef ASK_IN_THE_UPDATE
    answer = snapshots; /* the sub-query's answer is as old as the statement */
    atomic { !locked -> locked = 1 }
#else
    atomic { !locked -> locked = 1 } /* the first statement writes the row, and waits for it */
    answer = snapshots;
#endif
    if
    :: answer
    :: else -> d_step { deleting = 1; printf("MSC: the volume is being deleted\n"); check_transitions() }
    fi;
    locked = 0
}

/* Take a snapshot, unless the volume is being deleted. */
proctype Snapshot() {
    bit answer;
#ifndef OWN_ROW_ONLY
    atomic { !locked -> locked = 1 }
#endif
    answer = deleting;
    if
    :: answer
    :: else -> d_step { snapshots = 1; printf("MSC: the volume has a snapshot\n"); check_transitions() }
    fi;
#ifndef OWN_ROW_ONLY
    locked = 0
#else
    skip
#endif
}

init {
    atomic {
        faults = FAULTS;
        if
        :: status[0] = CREATING
        :: status[0] = AVAILABLE
        fi;
        run Others(); run Extend(); run Delete(); run Snapshot()
    }
}
