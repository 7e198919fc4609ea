/*
 * The collection of packs that no backup needs. `docs/explanation/backup.md` argues what is checked here.
 *
 *     spin -a models/archive.pml && gcc -O2 -DSAFETY -DNOREDUCE -DCOLLAPSE -o pan pan.c && ./pan -m50000
 *
 * Named: what a published manifest names is not doomed.
 * Gone:  once all of them rest, two collections leave nothing but what is named.
 *
 * C1  Every step is a transaction, or a reading, and is indivisible. A process that has died or stands still is one that is not
 *     scheduled; whoever goes on with its operation goes on from the tables, which is where everything here is kept: so crashes
 *     and resumes are in every run. What a process had in its head and loses is `marks`, and it may lose them at any instant.
 * C2  Backup k makes pack k. What else it names are packs that it has seen as usable, each looked up when it likes.
 *     Backup 0 was published before, and can be deleted: its pack is what the others would like to share.
 * C3  op_seq only has to order pins and condemnations, so only these raise it here.
 * C4  A published manifest does not change, so reading it takes no time; the names of all manifests are read at once.
 */

#ifndef BACKUPS
#define BACKUPS 3 /* the one that was there, and the new ones */
#endif
#ifndef COLLECTORS
#define COLLECTORS 2
#endif
#define ROUNDS 2 /* of each collector while backups are made */

/* packs.state */
#define NONE 0
#define PENDING 1
#define LIVE 2
#define CONDEMNED 3
#define DOOMED 4

byte pack[BACKUPS];      /* packs.state; pack k is made by backup k */
byte since[BACKUPS];     /* packs.seq: the archive's op_seq of its condemnation */
byte op_seq;             /* archives.op_seq */
byte publications;       /* archives.publications */
byte pin[BACKUPS];       /* backups.pin; 0: none */
bit published[BACKUPS];  /* backups.manifest is there */
byte names[BACKUPS];     /* what the manifest names, or is going to, as a set of bits */
byte resting;            /* whoever is over */

#define HAS(set, k) (((set) >> (k)) & 1)
#define HOLD op_seq++

/* Whether a backup has entered before this condemnation, and is not over. */
#ifdef NO_PIN
#define IS_PINNED(c) false
#else
#define PINS(b, c) (pin[b] > 0 && pin[b] <= c)
#ifdef NEWEST_PIN_ONLY
#define IS_PINNED(c) (PINS(BACKUPS - 1, c) && pin[BACKUPS - 1] >= pin[1])
#else
#define IS_PINNED(c) (PINS(1, c) || PINS(BACKUPS - 1, c))
#endif
#endif

/* What may be referred to. */
#ifdef USE_CONDEMNED
#define USABLE(k) (pack[k] == LIVE || pack[k] == CONDEMNED)
#else
#define USABLE(k) (pack[k] == LIVE)
#endif

inline check_named() {
    for (b : 0 .. BACKUPS - 1) {
        for (k : 0 .. BACKUPS - 1) {
            if
            :: published[b] && HAS(names[b], k) && pack[k] == DOOMED ->
                printf("MSC: Named: backup %d needs pack %d, which is doomed\n", b, k); assert(0)
            :: else
            fi
        }
    }
}

proctype Backup(byte me) {
    byte b, k;
    bit deleted;
#ifdef LOOK_BEFORE_PIN
    if
    :: d_step { USABLE(0) -> names[me] = names[me] | 1; printf("MSC: backup %d sees pack 0\n", me) }
    :: true
    fi;
#endif
    d_step { HOLD; pin[me] = op_seq; printf("MSC: backup %d enters\n", me) };
    do
    /* It looks a block up, and finds it in somebody's pack. */
#ifndef LOOK_BEFORE_PIN
    :: d_step { USABLE(0) && !HAS(names[me], 0) -> names[me] = names[me] | 1;
        printf("MSC: backup %d finds a block in pack 0\n", me) }
#endif
#if BACKUPS > 2
    :: d_step { USABLE(3 - me) && !HAS(names[me], 3 - me) -> names[me] = names[me] | (1 << (3 - me));
        printf("MSC: backup %d finds a block in pack %d\n", me, 3 - me) }
#endif
    /* It stores what is new. */
    :: d_step { pack[me] == NONE -> pack[me] = PENDING; printf("MSC: backup %d begins pack %d\n", me, me) }
    :: d_step { pack[me] == PENDING && !HAS(names[me], me) -> names[me] = names[me] | (1 << me);
        printf("MSC: backup %d has stored pack %d\n", me, me) }
#ifdef PIN_ENDS_EARLY
    :: d_step { pin[me] > 0 -> pin[me] = 0; printf("MSC: backup %d leaves before it has published\n", me) }
#endif
#ifdef PIN_MOVES
    /* Whoever goes on after a crash pins anew. */
    :: d_step { pin[me] > 0 && pin[me] < op_seq -> HOLD; pin[me] = op_seq; printf("MSC: backup %d enters again\n", me) }
#endif
    :: break
    od;
    if
    :: d_step {
        published[me] = 1; pin[me] = 0;
#ifndef NO_COUNT
        publications++;
#endif
        if
        :: pack[me] == PENDING && HAS(names[me], me) -> pack[me] = LIVE
        :: pack[me] == PENDING && !HAS(names[me], me) -> pack[me] = DOOMED
        :: else
        fi;
        printf("MSC: backup %d is published\n", me);
        check_named(); b = 0; k = 0 };
        /* Its user may delete it. */
        if
        :: d_step { published[me] = 0; deleted = 1; printf("MSC: backup %d is deleted\n", me) }
        :: true
        fi
    :: d_step {
        pin[me] = 0; names[me] = 0;
        if
#ifndef LEAVE_BEHIND
        :: pack[me] == PENDING -> pack[me] = DOOMED
#endif
        :: else
        fi;
        printf("MSC: backup %d fails\n", me) }
    fi;
    resting++
}

proctype Deletion() {
    if
    :: d_step { published[0] = 0; printf("MSC: backup 0 is deleted\n") }
    :: true
    fi;
    resting++
}

inline mark() {
    d_step {
        p = publications; named = 0;
        for (b : 0 .. BACKUPS - 1) {
            if
            :: published[b] -> named = named | names[b]
            :: else
            fi
        };
        b = 0; printf("MSC: a collector marks\n") }
}

/* One pack: each is decided on in a transaction that may be one of its own. */
inline decide(k) {
    if
    :: pack[k] == LIVE && !HAS(named, k) ->
#ifdef ONE_STEP
        pack[k] = DOOMED; printf("MSC: pack %d is doomed at once\n", k)
#else
        HOLD; pack[k] = CONDEMNED; since[k] = op_seq; printf("MSC: pack %d is condemned\n", k)
#endif
    :: pack[k] == CONDEMNED && !IS_PINNED(since[k]) ->
        if
        :: HAS(named, k) -> pack[k] = LIVE; printf("MSC: pack %d is needed again\n", k)
        :: else -> pack[k] = DOOMED; printf("MSC: pack %d is doomed\n", k)
        fi
    :: else
    fi
}

inline settle() {
    k = 0;
    do
    :: k < BACKUPS ->
        if
#ifdef NO_COMPARISON
        :: d_step { decide(k); check_named2(); k++ }
#else
        :: d_step { publications == p -> decide(k); check_named2(); k++ }
        :: publications != p -> mark()
#endif
        fi
    :: else -> break
    od
}

inline check_named2() {
    for (b : 0 .. BACKUPS - 1) {
        if
        :: published[b] && HAS(names[b], k) && pack[k] == DOOMED ->
            printf("MSC: Named: backup %d needs pack %d, which is doomed\n", b, k); assert(0)
        :: else
        fi
    };
    b = 0
}

proctype Collector() {
    byte p, named, round, b, k;
    do
    :: round < ROUNDS -> round++; mark();
        if
        :: settle()
        :: true /* it dies here, and its marks with it */
        fi
    :: break
    od;
    resting++
}

/* When all is quiet, the first collection may only condemn. */
proctype Last() {
    byte p, named, round, b, k;
    (resting == BACKUPS + COLLECTORS) ->
    do
    :: round < 2 -> round++; mark(); settle()
    :: else -> break
    od;
    d_step {
        mark();
        for (k : 0 .. BACKUPS - 1) {
            if
            :: pack[k] != NONE && pack[k] != DOOMED && !HAS(named, k) ->
                printf("MSC: Gone: nobody needs pack %d, and it stays\n", k); assert(0)
            :: else
            fi
        }
    }
}

init {
    byte i;
    atomic {
        pack[0] = LIVE; published[0] = 1; names[0] = 1; op_seq = 1; publications = 1;
        run Deletion();
        for (i : 1 .. BACKUPS - 1) { run Backup(i) }
        for (i : 1 .. COLLECTORS) { run Collector() }
        run Last()
    }
}
