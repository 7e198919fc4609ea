/*
 * The core of the protocol: lease, expire, fence, release, claim, finish. `docs/explanation/protocol.md` argues what is
 * checked here; `clock.pml` proves the one fact about time that this model takes for given (F1 below).
 *
 *     spin -a models/lease.pml && gcc -O2 -DSAFETY -DNOREDUCE -DCOLLAPSE -o pan pan.c && ./pan -m50000
 *     spin -DNO_GUARD -a models/lease.pml && …      one rule taken out; scripts/check_models.py does all of them
 *
 * What is left out, and why that is sound, stands where it is left out. In general:
 *
 * A1  Every step below is a transaction of the database or one event in the world, and is indivisible. A process that is
 *     paused, slow or cut off from the database is one that is not scheduled, so pauses and outages of any length, between
 *     any two steps, are in every run. Their effect on leases is `lapse`.
 * A2  One resource. Places in different lines never wait for each other while holding something, so lines are independent.
 * A3  No step is ever undone here and every fault costs one of FAULTS, so no run is endless: a run that can go no further with
 *     work left is a breach of Termination, and there is no cycle (checked apart, without -DSAFETY, by `pan -l`).
 *
 * A4  What fences in the end (a proof of death, a new boot_id, an external command, the storage) is one thing here: from some
 *     instant on, no write of that incarnation takes effect in that queue's storage. TRUST is the one that is not like that.
 *
 * F1  A node is expired by silence only after its lease is over (holder counts from before, observer from after; clock.pml).
 *     Only TRUST needs it: an operator's word expires a node at any instant, and everything holds all the same.
 */

#ifndef FAULTS
#define FAULTS 2 /* faults per run, of any kinds together */
#endif
#ifndef NODES
#define NODES 3 /* incarnations: two at the start, the others restart what fell */
#endif
#ifndef OPS
#define OPS 2 /* operations on the resource; number 1 only reads it (a shared place), all others change it */
#endif
#ifndef QUEUES
#define QUEUES 1 /* backends, each with its queue: fences are recorded for each, and operation k is in queue k % QUEUES */
#endif
#define NOBODY NODES

/* Membership of an incarnation: the row's state. */
#define ABSENT 0
#define UP 1
#define DRAINING 2
#define EXPIRED 3
#define FENCED 4
#define IS_LIVE(n) (state[n] == UP || state[n] == DRAINING)
#define FORGOTTEN 5 /* no row any more; only with FORGET, to have fewer states without */
#define IS_DEAD(n) (state[n] == FENCED) /* left out: `gone`, which is `fenced` with nothing to its name */

/* Where a node is with an operation. */
#define IDLE 0
#define LOOKED 1  /* seen as claimable; nothing is written yet (only with LOOK_APART) */
#define CHECK 2   /* claimed; a step is to ask the gate */
#define WRITE 3   /* the gate was open; the storage write is on its way: here a frozen worker sits */
#define SAVE 4    /* the write has landed */
#define BACK 5    /* leaving: hand it back */
#define ERROR 6   /* the call has ended with an error, which is to be judged */
#define FAILING 7 /* the step believes it: the operation is to turn back */
#define ADRIFT 8  /* the process is dead and its write is still inside a system call */

/* --- the database ------------------------------------------------------------------------------------------------ */

byte state[NODES];   /* nodes.state */
byte fencer[NODES];  /* nodes.fencer */
bit noted[NODES * QUEUES]; /* node_backends.fenced_by: the fence of this node at this queue's storage is recorded */
byte phase[OPS];     /* 0 not asked for, 1 in the table, 2 finished: its row is gone and its log row is there */
byte place[OPS];     /* operation_locks.seq */
byte owner[OPS];     /* operations.owner */
byte epoch[OPS];     /* operations.epoch */
bit step[OPS];       /* operations.step: two steps with one write each */
byte op_seq;         /* the resource's counter of places */

/* --- the world --------------------------------------------------------------------------------------------------- */

bit leased[NODES];   /* the holder's belief. The gate shuts before it ends, so "leased" and "open" are one thing here. */
bit keeper[NODES];   /* the keeper runs */
bit worker[NODES];   /* the worker runs; it is the observer, too */
bit leaving[NODES];  /* told to leave */
bit barred[NODES * QUEUES]; /* this queue's storage takes no write of this incarnation any more; see the fence */
byte former[NODES];  /* whose restart this is; NOBODY: no restart */
byte at[NODES * OPS];    /* where node n is with operation k; a node has a slot for each */
byte mine[NODES * OPS];  /* the epoch under which it works (LOOKED: that it has seen) */
bit doing[NODES * OPS];  /* the step in flight */
bit lapsed[NODES * OPS]; /* the lease was lost, and won again, since its storage call began */
byte faults;

/* --- ghosts: known to the invariants only -------------------------------------------------------------------------- */

byte landed[OPS]; /* the highest epoch under which a write has landed; 0: none. Forgotten at the end, which outranks all. */
bit second[OPS];  /* a write of the second step has landed */

/* --- mutations ----------------------------------------------------------------------------------------------------- */

#ifdef RELEASE_ONCE
byte heir[NODES]; /* who has recorded the fence, and means to release once */
#endif
#ifdef REVOKE_APART
bit unrevoked[NODES]; /* expired, and its operations are still to be revoked */
#endif
#ifdef FENCE_REMEMBERED
bit unaware[NODES]; /* the fencer has not heard that it was elected */
#define KNOWS(n) (!unaware[n])
#else
#define KNOWS(n) true /* it reads the table */
#endif
#ifdef GUARD_BY_OWNER
#define OWNS(n, k) (phase[k] == 1 && owner[k] == n)
#else
#ifdef GUARD_BY_EPOCH
#define OWNS(n, k) (phase[k] == 1 && epoch[k] == mine[I(n, k)])
#else
#define OWNS(n, k) (phase[k] == 1 && owner[k] == n && epoch[k] == mine[I(n, k)])
#endif
#endif
/* Save is also what turns an operation back, and hands it back. */
#ifdef NO_GUARD_ON_SAVE
#define SAVE_MATCHES(n, k) (phase[k] == 1)
#else
#define SAVE_MATCHES(n, k) OWNS(n, k)
#endif
#ifdef NO_GUARD_ON_FINISH
#define FINISH_MATCHES(n, k) (phase[k] == 1)
#else
#define FINISH_MATCHES(n, k) OWNS(n, k)
#endif
#ifdef NO_LEASE_CHECK
#define OPEN(n) true
#else
#define OPEN(n) leased[n]
#endif
#ifdef NO_NODE_ROW
#define MAY_CLAIM(n) true
#else
#define MAY_CLAIM(n) (state[n] == UP)
#endif
#ifdef NO_EPOCH_SWAP
#define UNCHANGED(n, k) true
#else
#define UNCHANGED(n, k) (epoch[k] == mine[I(n, k)])
#endif
/*
 * trust_self_fencing: the fence is no act. The fencer waits, from the end of the lease, for the driver's settle time, and
 * assumes that no write is on its way any more. SETTLED is that assumption; FROZEN is what breaks it.
 */
#ifdef TRUST
#ifdef FROZEN
#define SETTLED(n) true
#else
#define SETTLED(n) NOTHING_ON_ITS_WAY(n)
#endif
#if defined(SETTLE_AT_ONCE) || defined(DRIFT)
#define CAN_FENCE(n) SETTLED(n)
#else
#define CAN_FENCE(n) (!leased[n] && SETTLED(n))
#endif
#define IS_REFUSED(n, k) false
#else
#define CAN_FENCE(n) true
#ifdef NO_FENCE
#define IS_REFUSED(n, k) false
#else
#define IS_REFUSED(n, k) barred[Q(n, k % QUEUES)]
#endif
#endif
/* An error seen while the lease was lost says nothing. */
#ifdef BELIEVE_ERRORS
#define BELIEVED(n, k) true
#else
#ifdef NO_COUNT_OF_LAPSES
#define BELIEVED(n, k) leased[n]
#else
#define BELIEVED(n, k) (leased[n] && !lapsed[I(n, k)])
#endif
#endif
/* The operator's word, which expires a node at any instant. Taken out, what it alone breaks is not seen. */
#ifdef SILENCE_ONLY
#define MAY_SPEAK false
#else
#define MAY_SPEAK (faults > 0)
#endif
/* F1 broken: a clock runs faster than it may, and silence expires a node whose lease still runs. */
#ifdef DRIFT
#define TOO_SOON (faults > 0)
#else
#define TOO_SOON false
#endif
/* Whether what a node owns may go to another. */
#ifdef NO_FENCE_FIRST
#define RELEASABLE(n, k) (IS_DEAD(n) || state[n] == EXPIRED)
#else
#ifdef RELEASE_BY_ANY_FENCE
#define RELEASABLE(n, k) (IS_DEAD(n) || noted[Q(n, 0)] || noted[Q(n, QUEUES - 1)])
#else
#define RELEASABLE(n, k) (IS_DEAD(n) || noted[Q(n, k % QUEUES)])
#endif
#endif

/* --- words --------------------------------------------------------------------------------------------------------- */

#define I(n, k) ((n) * OPS + (k))
#define Q(n, q) ((n) * QUEUES + (q))
#define CONFLICT(j, k) (j != k && (j != 1 || k != 1) && (OPS < 4 || (j & 1) == 0 || (k & 1) == 0))
#define WAITS_FOR(k, j) (CONFLICT(j, k) && phase[j] == 1 && place[j] < place[k])
#if OPS == 2
#define SOMEONE_BEFORE(k) (WAITS_FOR(k, 0) || WAITS_FOR(k, 1))
#else
#define SOMEONE_BEFORE(k) (WAITS_FOR(k, 0) || WAITS_FOR(k, 1) || WAITS_FOR(k, 2))
#endif
#ifdef NO_ORDER
#define CLAIMABLE(k) (phase[k] == 1 && owner[k] == NOBODY)
#else
#define CLAIMABLE(k) (phase[k] == 1 && owner[k] == NOBODY && !SOMEONE_BEFORE(k))
#endif

#if OPS == 2
#define NO_IO(n) (at[I(n, 0)] != ADRIFT && at[I(n, 1)] != ADRIFT)
#define NO_TASK(n) (at[I(n, 0)] == IDLE && at[I(n, 1)] == IDLE)
#define NOTHING_ON_ITS_WAY(n) (NO_IO(n) && at[I(n, 0)] != WRITE && at[I(n, 1)] != WRITE)
#else
#define NO_IO(n) (at[I(n, 0)] != ADRIFT && at[I(n, 1)] != ADRIFT && at[I(n, 2)] != ADRIFT)
#define NO_TASK(n) (at[I(n, 0)] == IDLE && at[I(n, 1)] == IDLE && at[I(n, 2)] == IDLE)
#define NOTHING_ON_ITS_WAY(n) (NO_IO(n) && at[I(n, 0)] != WRITE && at[I(n, 1)] != WRITE && at[I(n, 2)] != WRITE)
#endif

inline forget(n, k) { at[I(n, k)] = IDLE; mine[I(n, k)] = 0; doing[I(n, k)] = 0; lapsed[I(n, k)] = 0 }

inline revoke(n) {
    for (i : 0 .. OPS - 1) {
        if
        :: phase[i] == 1 && owner[i] == n -> epoch[i]++
        :: else
        fi
    }
    i = 0
}

/* The worker's process ends. What has entered the kernel may land all the same (ADRIFT) or may not. Runs in an atomic. */
inline end_worker(n) {
    worker[n] = 0; leased[n] = 0; leaving[n] = 0;
    for (i : 0 .. OPS - 1) {
        if
        :: at[I(n, i)] == WRITE -> at[I(n, i)] = ADRIFT; lapsed[I(n, i)] = 0
        :: at[I(n, i)] == WRITE -> forget(n, i)
        :: at[I(n, i)] != WRITE && at[I(n, i)] != ADRIFT -> forget(n, i)
        :: at[I(n, i)] == ADRIFT
        fi
    }
    i = 0
}

/* The claim's WHERE, without the epoch; and what is marked ours and does not run here. */
#define CLAIM_MATCHES(n, k) (MAY_CLAIM(n) && phase[k] == 1 && (owner[k] == NOBODY || owner[k] == n))
/* One statement decides and writes. UPDATE_IN_TWO: it writes what was decided when it looked. */
#ifdef UPDATE_IN_TWO
#define STILL_WINS(n, k) phase[k] == 1
#else
#define STILL_WINS(n, k) CLAIM_MATCHES(n, k) && UNCHANGED(n, k)
#endif
#ifdef MARKS_REMEMBERED
#define MARKED(n, k) false
#else
#define MARKED(n, k) (phase[k] == 1 && owner[k] == n)
#endif

/* --- what must hold ------------------------------------------------------------------------------------------------ */

/* A write of the step `doing` under the token (place, mine) takes effect. */
inline land(n, k) {
    printf("MSC: node %d: step %d of operation %d lands, token (%d, %d)\n", n, doing[I(n, k)], k, place[k], mine[I(n, k)]);
    if
    :: phase[k] != 1 || mine[I(n, k)] < landed[k] -> printf("MSC: Exclusion\n"); assert(false) /* Exclusion */
    :: else
    fi;
    for (i : 0 .. OPS - 1) {
        if
        :: CONFLICT(i, k) && place[i] > place[k] && (phase[i] == 2 || landed[i] > 0) ->
            printf("MSC: Exclusion\n"); assert(false) /* Exclusion: a conflicting later place has written already */
        :: CONFLICT(i, k) && phase[i] == 1 && place[i] < place[k] ->
            printf("MSC: Order\n"); assert(false) /* Order: the one before it has not ended */
        :: else
        fi
    }
    i = 0;
    if
    :: doing[I(n, k)] < second[k] -> printf("MSC: Once\n"); assert(false) /* Once: the first step again, after the second */
    :: else
    fi;
    landed[k] = mine[I(n, k)];
    second[k] = doing[I(n, k)]
}

/* --- requests ------------------------------------------------------------------------------------------------------ */

/*
 * All requests come at the start, in any order. Left out: later ones. An operation that nobody has looked at yet stands in
 * nobody's way, since whatever could run before it has a lower place.
 */
inline accept(k) {
    op_seq++;
    place[k] = op_seq; phase[k] = 1; owner[k] = NOBODY;
    printf("MSC: operation %d is accepted, place %d\n", k, op_seq)
}

#ifdef PLACE_DRAWN_EARLY
/* The reader's place comes from a sequence of the database, without writing the resource's row: drawn now, seen later. */
inline accept_reader() { op_seq++; place[1] = op_seq; owner[1] = NOBODY }
proctype Late() {
    d_step { phase[1] == 0 && place[1] > 0 -> phase[1] = 1; printf("MSC: operation 1 is in the table, place %d\n", place[1]) }
}
#else
inline accept_reader() { accept(1) }
#endif

/* --- a node and an operation --------------------------------------------------------------------------------------- */

proctype Task(byte n; byte k) {
    byte i;
end:
    do
    /*
     * Look, claim, run. What is marked ours and does not run here is taken up like what nobody has. The look is a SELECT of its
     * own, and is one step with the claim here: once claimable, always claimable, and a claim that finds another epoch than
     * was seen changes nothing. LOOK_APART takes the two apart.
     */
#ifdef LOOK_APART
    :: d_step {
        at[I(n, k)] == IDLE && worker[n] && OPEN(n) && !leaving[n] && MAY_CLAIM(n) && (CLAIMABLE(k) || MARKED(n, k)) ->
        at[I(n, k)] = LOOKED; mine[I(n, k)] = epoch[k]; doing[I(n, k)] = step[k] }
    :: d_step { at[I(n, k)] == LOOKED && worker[n] && !(STILL_WINS(n, k)) -> forget(n, k) }
    :: atomic { at[I(n, k)] == LOOKED && worker[n] && (STILL_WINS(n, k)) ->
#else
    :: atomic { at[I(n, k)] == IDLE && worker[n] && OPEN(n) && !leaving[n] && CLAIM_MATCHES(n, k) &&
        (CLAIMABLE(k) || MARKED(n, k)) ->
#endif
        owner[k] = n;
#ifdef UPDATE_IN_TWO
        epoch[k] = mine[I(n, k)] + 1;
#else
        epoch[k]++;
#endif
        if
        :: true -> /* heard; also when a repeat by transaction id brings the lost answer */
            at[I(n, k)] = CHECK; mine[I(n, k)] = epoch[k];
#ifndef STALE_CHECKPOINT
            doing[I(n, k)] = step[k]; /* read after the swap */
#endif
            printf("MSC: node %d claims operation %d, epoch %d, step %d\n", n, k, epoch[k], doing[I(n, k)])
        :: faults > 0 -> /* committed, and the answer is lost for good: `run` gives up after some attempts */
            faults--; forget(n, k); printf("MSC: node %d claims operation %d and does not hear it\n", n, k)
#ifdef COMMITS_ARE_LOST
        :: faults > 0 -> /* heard, and gone: the database's machine fell, and its disk had never been told */
            faults--; at[I(n, k)] = CHECK; mine[I(n, k)] = epoch[k]; doing[I(n, k)] = step[k];
            owner[k] = NOBODY; epoch[k]--;
            printf("MSC: node %d claims operation %d, and the database forgets it\n", n, k)
#endif
        fi }

    /* The step's storage call: ask the gate, then write. Between the two anything may happen, for any time. */
#ifdef NO_WINDOW
    :: d_step { at[I(n, k)] == CHECK && worker[n] && OPEN(n) -> land(n, k); at[I(n, k)] = SAVE }
#else
    :: d_step { at[I(n, k)] == CHECK && worker[n] && OPEN(n) ->
        at[I(n, k)] = WRITE; printf("MSC: node %d finds the gate open, for operation %d\n", n, k) }
#endif
    :: d_step { at[I(n, k)] == WRITE && !IS_REFUSED(n, k) -> land(n, k); at[I(n, k)] = SAVE; lapsed[I(n, k)] = 0 }
    /*
     * Errors that come from losing the lease: the fence makes the storage refuse; what cuts a node off from the database cuts
     * it off from the storage, too; a copying child is killed. A step that does not believe its error waits for the gate, and
     * runs again. Left out: real errors. They are outcomes of the work, and end by Finish like any other.
     */
    :: d_step {
        at[I(n, k)] == WRITE && worker[n] && (IS_REFUSED(n, k) || !leased[n]) ->
        at[I(n, k)] = ERROR; printf("MSC: node %d: the storage call of operation %d ends with an error\n", n, k) }
    :: d_step {
        at[I(n, k)] == ERROR && worker[n] ->
        if
        :: BELIEVED(n, k) -> at[I(n, k)] = FAILING; printf("MSC: node %d believes it\n", n)
        :: else -> at[I(n, k)] = CHECK; printf("MSC: node %d does not believe it\n", n)
        fi;
        lapsed[I(n, k)] = 0 }
    :: d_step {
        at[I(n, k)] == FAILING && worker[n] ->
        if
        :: SAVE_MATCHES(n, k) -> printf("MSC: Once: a lost lease became a failed operation\n"); assert(false) /* Once */
        :: else -> forget(n, k) /* Fenced */
        fi }

    /* Save after the first step, Finish after the second. Their lost answers are no events: the transaction id makes the repeat
       say the same, and without it Save repeats absolute values, and Finish matches nothing. */
    :: d_step {
        at[I(n, k)] == SAVE && doing[I(n, k)] == 0 && worker[n] ->
        if
        :: SAVE_MATCHES(n, k) ->
            step[k] = 1; doing[I(n, k)] = 1; printf("MSC: node %d saves operation %d\n", n, k);
            if
            :: leaving[n] -> at[I(n, k)] = BACK
            :: else -> at[I(n, k)] = CHECK
            fi
        :: else -> forget(n, k) /* Fenced */
        fi }
    :: d_step {
        at[I(n, k)] == SAVE && doing[I(n, k)] == 1 && worker[n] ->
        if
        :: FINISH_MATCHES(n, k) ->
            printf("MSC: node %d finishes operation %d\n", n, k);
            if
            :: !second[k] -> printf("MSC: Once: finished, and its last step never took effect\n"); assert(false) /* Once */
            :: else
            fi;
            /* Once: the row goes with Finish, so it can match once. The rest is set to one value to keep states few. */
            phase[k] = 2; owner[k] = NOBODY; epoch[k] = 0; step[k] = 0; landed[k] = 0; second[k] = 0
        :: else
        fi;
        forget(n, k) }
    :: d_step {
        at[I(n, k)] == BACK && worker[n] ->
        if
        :: SAVE_MATCHES(n, k) -> owner[k] = NOBODY; printf("MSC: node %d hands operation %d back\n", n, k)
        :: else
        fi;
        forget(n, k) }

    /* The process is dead; what it had in the kernel lands or does not. */
    :: d_step { at[I(n, k)] == ADRIFT && !IS_REFUSED(n, k) -> land(n, k); forget(n, k) }
    :: d_step {
        at[I(n, k)] == ADRIFT ->
        forget(n, k); printf("MSC: node %d: what was under way for operation %d never lands\n", n, k) }
    od
}

/* --- a node's keeper, and its end ---------------------------------------------------------------------------------- */

/* The proof: the lock file is free. The kernel frees it when no process holds it and no system call of them is under way. */
#ifdef PROOF_BY_PROCESS_ONLY
#define PROVEN_DEAD(n) (!worker[n])
#else
#define PROVEN_DEAD(n) (!worker[n] && NO_IO(n))
#endif

#define FELL(n) (state[n] != UP || !keeper[n])

proctype Keeper(byte n) {
    byte i;
end:
    do
    /* A restart registers and begins its lease. Which of the fallen it succeeds decides whom it can bury. */
    :: atomic {
        n >= 2 && state[n] == ABSENT && (FELL(0) || FELL(1)) ->
        if
        :: FELL(0) -> former[n] = 0
        :: FELL(1) -> former[n] = 1
        fi;
        state[n] = UP; keeper[n] = 1; worker[n] = 1; leased[n] = 1;
        printf("MSC: node %d starts, after %d\n", n, former[n]) }

    /* Renewals. A lease ends for want of them: a pause, a slow or absent database, a cut network. */
    :: d_step {
        faults > 0 && leased[n] && keeper[n] ->
        faults--; leased[n] = 0; printf("MSC: the lease of node %d lapses\n", n) }
    :: d_step { leased[n] && !keeper[n] -> leased[n] = 0; printf("MSC: the lease of node %d ends\n", n) }
    :: d_step {
        keeper[n] && worker[n] && !leased[n] && IS_LIVE(n) ->
        leased[n] = 1;
        for (i : 0 .. OPS - 1) { lapsed[I(n, i)] = at[I(n, i)] == WRITE || at[I(n, i)] == ERROR }
        i = 0;
        printf("MSC: node %d renews\n", n) }
    /* A renewal that matches nothing: expired. The worker is killed. */
    :: atomic {
        keeper[n] && worker[n] && state[n] >= EXPIRED ->
        end_worker(n); printf("MSC: node %d hears that it is expired\n", n) }
    /* A worker without a keeper ends by itself. */
    :: atomic { worker[n] && !keeper[n] -> end_worker(n); printf("MSC: the worker of node %d sees no keeper, and ends\n", n) }

    /* Told to leave. Whether the row says so does not matter: the worker is told, too. It goes when nothing runs. */
    :: atomic {
        faults > 0 && keeper[n] && worker[n] && state[n] == UP && !leaving[n] ->
        faults--; leaving[n] = 1; printf("MSC: node %d is told to leave\n", n);
        if
        :: state[n] = DRAINING
        :: true
        fi }
    :: d_step { leaving[n] && worker[n] && NO_TASK(n) ->
        worker[n] = 0; leased[n] = 0; leaving[n] = 0; printf("MSC: node %d is drained\n", n) }

    /* Crashes: all of the node, the worker, or the keeper alone (its worker goes on until the gate shuts). */
    :: atomic { faults > 0 && keeper[n] && worker[n] ->
        faults--;
        if
        :: keeper[n] = 0; end_worker(n); printf("MSC: node %d dies\n", n)
        :: end_worker(n); printf("MSC: the worker of node %d dies\n", n)
        :: keeper[n] = 0; printf("MSC: the keeper of node %d dies\n", n)
        fi }
    /* A keeper that outlived its worker may die, too. */
    :: d_step { faults > 0 && keeper[n] && !worker[n] -> faults--; keeper[n] = 0 }

    /* A keeper buries itself when its worker is reaped; a restart buries its predecessor. Either needs the proof. */
    :: d_step { keeper[n] && (IS_LIVE(n) || state[n] == EXPIRED) && PROVEN_DEAD(n) ->
        revoke(n); state[n] = FENCED; fencer[n] = NOBODY; keeper[n] = 0;
        printf("MSC: node %d proves its own worker dead, and is fenced\n", n) }
    :: d_step { keeper[n] && !worker[n] && state[n] >= FENCED -> keeper[n] = 0 }
    :: d_step {
        n >= 2 && keeper[n] && (IS_LIVE(former[n]) || state[former[n]] == EXPIRED) &&
#ifdef BURY_BY_NAME
        !keeper[former[n]] ->
#else
        !keeper[former[n]] && PROVEN_DEAD(former[n]) ->
#endif
        revoke(former[n]); state[former[n]] = FENCED; fencer[former[n]] = NOBODY; 
        printf("MSC: node %d finds node %d dead, and it is fenced\n", n, former[n]) }
    od
}

/* The record of a fence. A node that is fenced everywhere is fenced; with one queue the two are the same. */
inline note(n, q) {
    noted[Q(n, q)] = 1;
    if
    :: noted[Q(n, 0)] && noted[Q(n, QUEUES - 1)] ->
        noted[Q(n, 0)] = 0; noted[Q(n, QUEUES - 1)] = 0; /* fewer states: the node's own row says it all now */
#ifdef RELEASE_ONCE
        heir[n] = f;
#endif
        state[n] = FENCED; fencer[n] = NOBODY
    :: else
    fi
}

/* The standing rules, by any node that runs. Left out: who of them does it, since nothing of its own enters. */
inline release(n) {
    for (i : 0 .. OPS - 1) {
        if
        :: phase[i] == 1 && owner[i] == n && RELEASABLE(n, i) ->
            owner[i] = NOBODY; printf("MSC: operation %d of node %d is released\n", i, n)
        :: else
        fi
    }
    i = 0
}

/* --- a node as the observer of another --------------------------------------------------------------------------- */

proctype Observer(byte f; byte n) {
    byte i;
end:
    do
    /* Expiry by silence, after the lease (F1), or by an operator's word, at any time. Ops are taken from it at once. */
    :: atomic {
        worker[f] && IS_LIVE(n) && (!leased[n] || MAY_SPEAK || TOO_SOON) ->
        if
        :: !leased[n] -> fencer[n] = f
#ifdef DRIFT
        :: faults > 0 -> faults--; fencer[n] = f
#endif
        :: MAY_SPEAK -> faults--; fencer[n] = NOBODY
#ifdef FENCE_REMEMBERED
        :: faults > 0 && !leased[n] -> /* the answer is lost for good, and the fencer does not know that it was elected */
            faults--; fencer[n] = f; unaware[n] = 1
#endif
        fi;
        state[n] = EXPIRED;
#ifdef REVOKE_APART
        unrevoked[n] = 1;
#else
#ifndef NO_REVOKE
        revoke(n);
#endif
#endif
        if
        :: fencer[n] == NOBODY -> printf("MSC: an operator expires node %d\n", n)
        :: else -> printf("MSC: node %d expires node %d, and is to fence it\n", f, n)
        fi }

#ifdef REVOKE_APART
    :: d_step {
        worker[f] && unrevoked[n] ->
        unrevoked[n] = 0; revoke(n); printf("MSC: node %d revokes what node %d owns\n", f, n) }
#endif

    /*
     * The fence: an act in the world, then its record, for each queue apart. `barred` says that no write of the node takes
     * effect from now on: the storage refuses it (then its process may go on to use the database, as here), or the process was
     * killed, its lock is free, and it uses nothing any more: fewer runs of the same model. Repeating the act changes nothing.
     */
    :: d_step {
        worker[f] && state[n] == EXPIRED && fencer[n] == f && KNOWS(n) && !barred[Q(n, 0)] && CAN_FENCE(n) ->
        barred[Q(n, 0)] = 1; printf("MSC: node %d fences node %d\n", f, n) }
    :: d_step {
        worker[f] && state[n] == EXPIRED && fencer[n] == f && KNOWS(n) && barred[Q(n, 0)] && !noted[Q(n, 0)] ->
        note(n, 0); printf("MSC: node %d records the fence of node %d\n", f, n) }
#if QUEUES == 2
    :: d_step {
        worker[f] && state[n] == EXPIRED && fencer[n] == f && KNOWS(n) && !barred[Q(n, 1)] && CAN_FENCE(n) ->
        barred[Q(n, 1)] = 1; printf("MSC: node %d fences node %d at the second storage\n", f, n) }
    :: d_step {
        worker[f] && state[n] == EXPIRED && fencer[n] == f && KNOWS(n) && barred[Q(n, 1)] && !noted[Q(n, 1)] ->
        note(n, 1); printf("MSC: node %d records the fence of node %d at the second storage\n", f, n) }
#endif
    /* A fence that fails or takes too long is handed on; so is one whose fencer is not live. Left out: that a node which is
       expired itself takes one over. It may, for as long as it runs, and another takes it from there. */
    :: d_step { faults > 0 && worker[f] && state[n] == EXPIRED && fencer[n] == f ->
        faults--; fencer[n] = NOBODY; printf("MSC: node %d fails to fence node %d\n", f, n) }
#ifndef NO_TAKEOVER
    :: d_step {
        worker[f] && IS_LIVE(f) && state[n] == EXPIRED && fencer[n] != f && (fencer[n] == NOBODY || !IS_LIVE(fencer[n])) ->
        fencer[n] = f;
#ifdef FENCE_REMEMBERED
        unaware[n] = 0;
#endif
        printf("MSC: node %d takes over the fence of node %d\n", f, n) }
#endif
#ifdef RELEASE_ONCE
    /* The fencer releases, once, after its record; a node that buried itself is released by whoever comes. */
    :: d_step { worker[f] && IS_DEAD(n) && heir[n] == f -> heir[n] = NODES + 1; release(n) }
    :: d_step { worker[f] && IS_DEAD(n) && heir[n] == NOBODY -> heir[n] = NODES + 1; release(n) }
#endif
    od
}

#if OPS == 2
#define HAS_MARKS(n) (owner[0] == n || owner[1] == n)
#else
#define HAS_MARKS(n) (owner[0] == n || owner[1] == n || owner[2] == n)
#endif
/* A node's row outlives the operations that it owns. */
#ifdef FORGET_OWNERS
#define MAY_FORGET(n) true
#else
#define MAY_FORGET(n) !HAS_MARKS(n)
#endif
#define IS_DUE(n, k) (owner[k] == n && RELEASABLE(n, k))
#if OPS == 2
#define SOMETHING_IS_DUE(n) (IS_DUE(n, 0) || IS_DUE(n, 1))
#else
#define SOMETHING_IS_DUE(n) (IS_DUE(n, 0) || IS_DUE(n, 1) || IS_DUE(n, 2))
#endif
#if NODES == 2
#define SOME_WORKER (worker[0] || worker[1])
#define SOMEBODY_WELL (WELL(0) || WELL(1))
#elif NODES == 3
#define SOME_WORKER (worker[0] || worker[1] || worker[2])
#define SOMEBODY_WELL (WELL(0) || WELL(1) || WELL(2))
#else
#define SOME_WORKER (worker[0] || worker[1] || worker[2] || worker[3])
#define SOMEBODY_WELL (WELL(0) || WELL(1) || WELL(2) || WELL(3))
#endif
#define WELL(n) (state[n] == UP && keeper[n] && worker[n] && !leaving[n])

proctype Housekeeper(byte n) {
    byte i;
end:
    do
#ifdef RELEASE_ONCE
    :: false
#else
    :: d_step { SOME_WORKER && SOMETHING_IS_DUE(n) -> release(n) }
#endif
#ifdef FORGET
    /* Long after, whenever that is, the row goes. */
    :: d_step {
        SOME_WORKER && IS_DEAD(n) && MAY_FORGET(n) ->
        state[n] = FORGOTTEN; printf("MSC: the row of node %d goes\n", n) }
#endif
    od
}

/* --- Termination ----------------------------------------------------------------------------------------------------- */

#if OPS == 2
#define ALL_ENDED (phase[0] == 2 && phase[1] == 2)
#else
#define ALL_ENDED (phase[0] == 2 && phase[1] == 2 && phase[2] == 2)
#endif

/* Nothing can happen any more: then all is done, or every node has fallen, which takes a fault for each. */
proctype Judge() {
    timeout ->
    if
    :: !ALL_ENDED && (SOMEBODY_WELL || FAULTS < NODES) -> printf("MSC: Termination\n"); assert(false) /* Termination */
    :: else
    fi
}

init {
    byte i, j;
    atomic {
        faults = FAULTS;
#if OPS == 2
        if
        :: accept(0); accept_reader()
        :: accept_reader(); accept(0)
        fi;
#else
        if
        :: accept(0); accept_reader(); accept(2)
        :: accept_reader(); accept(0); accept(2)
        :: accept(0); accept(2); accept_reader()
        fi;
#endif
#ifdef PLACE_DRAWN_EARLY
        run Late();
#endif
        for (i : 0 .. NODES - 1) {
            fencer[i] = NOBODY; former[i] = NOBODY;
#ifdef RELEASE_ONCE
            heir[i] = NOBODY;
#endif
            if
            :: i < 2 -> state[i] = UP; keeper[i] = 1; worker[i] = 1; leased[i] = 1
            :: else
            fi;
            run Keeper(i); run Housekeeper(i);
            for (j : 0 .. OPS - 1) { run Task(i, j) }
            for (j : 0 .. NODES - 1) {
                if
                :: i != j -> run Observer(i, j)
                :: else
                fi
            }
        }
        i = 0; j = 0;
        run Judge()
    }
}
