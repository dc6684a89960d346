/* Takes mail and counts it: the next hop of every measurement, cheap enough not to matter.
 *
 * One epoll loop. A message counts, and its id (the X-Load-Id field) is appended to the log, after its end of data has
 * been read and before 250 is sent. The raw log keeps envelopes and octets exactly as they came, dots still doubled.
 * Build: bench/build.py.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define ROOM 65536

struct peer {
    int fd, in_data, closing;
    uint64_t number;
    double resume;              /* answers to MAIL are put off until then */
    struct peer *next_waiting;
    char in[ROOM];
    size_t in_size;
    char out[8192];
    size_t out_size;
    char head[4096];            /* the first octets of the message, for its id */
    size_t head_size;
    char tail[5];               /* the last octets seen, so that an end mark cut in two is found */
    size_t tail_size;
    char *raw;                  /* envelope and octets, for the raw log */
    size_t raw_size, raw_room;
};

struct shared { uint64_t messages, connections, octets, open; };

static struct shared local, *shared = &local;
static int poller, id_log = -1, raw_log = -1;
static volatile double delay, spread;
static struct peer *waiting;
static volatile sig_atomic_t stop;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void on_signal(int number) { (void)number; stop = 1; }
static void on_hurry(int number) { (void)number; delay = 0; }

static void die(const char *what) { perror(what); exit(2); }

static void say(struct peer *p, const char *text)
{
    size_t n = strlen(text);
    if (p->out_size + n > sizeof p->out) { p->closing = 1; return; }
    memcpy(p->out + p->out_size, text, n);
    p->out_size += n;
}

static void flush_out(struct peer *p)
{
    if (!p->out_size) return;
    ssize_t n = send(p->fd, p->out, p->out_size, MSG_NOSIGNAL);
    /* Replies are short; a peer that does not read them is dropped. */
    if (n != (ssize_t)p->out_size) p->closing = 1;
    p->out_size = 0;
}

static void keep_raw(struct peer *p, const char *bytes, size_t n)
{
    if (raw_log < 0) return;
    if (p->raw_size + n > p->raw_room) {
        p->raw_room = (p->raw_size + n) * 2;
        p->raw = realloc(p->raw, p->raw_room);
        if (!p->raw) die("realloc");
    }
    memcpy(p->raw + p->raw_size, bytes, n);
    p->raw_size += n;
}

static void whole(int fd, const char *bytes, size_t n)
{
    while (n) {
        ssize_t put = write(fd, bytes, n);
        if (put < 0) die("log");
        bytes += put;
        n -= put;
    }
}

static void received(struct peer *p)
{
    shared->messages++;
    if (id_log >= 0) {
        p->head[p->head_size] = 0;
        char line[160], *at = strcasestr(p->head, "X-Load-Id: "), *end = at ? strstr(at, "\r\n") : NULL;
        int n = snprintf(line, sizeof line, "%.*s %llu %.6f\n", at && end ? (int)(end - at - 11) : 1,
                         at && end ? at + 11 : "?", (unsigned long long)p->number, now());
        whole(id_log, line, n);
    }
    if (raw_log >= 0) {
        char line[64];
        int n = snprintf(line, sizeof line, "MESSAGE %llu %zu\n", (unsigned long long)p->number, p->raw_size);
        whole(raw_log, line, n);
        whole(raw_log, p->raw, p->raw_size);
        p->raw_size = 0;
    }
    say(p, "250 2.0.0 taken\r\n");
}

/* Octets of the message; returns how many belong to it. */
static size_t data(struct peer *p, const char *bytes, size_t n)
{
    char seam[10];
    size_t used = n, carry = p->tail_size;
    int done = 0;
    memcpy(seam, p->tail, carry);
    size_t some = n < 5 ? n : 5;
    memcpy(seam + carry, bytes, some);
    char *at = memmem(seam, carry + some, "\r\n.\r\n", 5);
    if (at) {
        used = at - seam + 5 - carry;
        done = 1;
    } else if ((at = memmem(bytes, n, "\r\n.\r\n", 5))) {
        used = at - bytes + 5;
        done = 1;
    }
    if (p->head_size < sizeof p->head - 1) {
        size_t room = sizeof p->head - 1 - p->head_size, take = used < room ? used : room;
        memcpy(p->head + p->head_size, bytes, take);
        p->head_size += take;
    }
    keep_raw(p, bytes, used);
    shared->octets += used;
    if (done) {
        p->in_data = 0;
        received(p);
        return used;
    }
    if (n >= 4) {
        memcpy(p->tail, bytes + n - 4, 4);
        p->tail_size = 4;
    } else {
        memcpy(seam + carry, bytes, n);
        size_t all = carry + n, keep = all < 4 ? all : 4;
        memmove(p->tail, seam + all - keep, keep);
        p->tail_size = keep;
    }
    return used;
}

static void command(struct peer *p, char *line, size_t n)
{
    if (!strncasecmp(line, "EHLO", 4))
        say(p, "250-sink.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-DSN\r\n"
               "250-ENHANCEDSTATUSCODES\r\n250 SIZE 104857600\r\n");
    else if (!strncasecmp(line, "MAIL", 4)) {
        p->raw_size = 0;
        keep_raw(p, line, n);
        say(p, "250 2.1.0 ok\r\n");
        /* With a spread many connections do not fall into step. */
        if (delay > 0) p->resume = now() + delay * (1 + spread * (rand() / (double)RAND_MAX - 0.5));
    } else if (!strncasecmp(line, "RCPT", 4)) {
        keep_raw(p, line, n);
        say(p, "250 2.1.5 ok\r\n");
    } else if (!strncasecmp(line, "DATA", 4)) {
        keep_raw(p, line, n);
        p->in_data = 1;
        p->head_size = 0;
        memcpy(p->tail, "\r\n", 2);
        p->tail_size = 2;
        say(p, "354 go on\r\n");
    } else if (!strncasecmp(line, "QUIT", 4)) {
        say(p, "221 2.0.0 bye\r\n");
        p->closing = 1;
    } else
        say(p, "250 2.0.0 ok\r\n");
}

static void digest(struct peer *p)
{
    size_t at = 0;
    while (at < p->in_size && !p->resume && !p->closing) {
        if (p->in_data) {
            at += data(p, p->in + at, p->in_size - at);
            continue;
        }
        char *end = memchr(p->in + at, '\n', p->in_size - at);
        if (!end) break;
        size_t n = end + 1 - (p->in + at);
        command(p, p->in + at, n);
        at += n;
    }
    p->in_size -= at;
    memmove(p->in, p->in + at, p->in_size);
    if (p->resume) {
        /* Nothing is answered until then: the delay throttles before responsibility is at stake. */
        struct peer **before = &waiting;
        while (*before && (*before)->resume <= p->resume) before = &(*before)->next_waiting;
        p->next_waiting = *before;
        *before = p;
        epoll_ctl(poller, EPOLL_CTL_DEL, p->fd, NULL);
        return;
    }
    flush_out(p);
}

static void hang_up(struct peer *p)
{
    close(p->fd);
    shared->open--;
    free(p->raw);
    free(p);
}

static void readable(struct peer *p)
{
    ssize_t n = recv(p->fd, p->in + p->in_size, ROOM - p->in_size, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) { hang_up(p); return; }
    p->in_size += n;
    digest(p);
    if (p->closing || (p->in_size == ROOM && !p->resume)) hang_up(p);
}

static void wake(void)
{
    double at = now();
    while (waiting && waiting->resume <= at) {
        struct peer *p = waiting;
        waiting = p->next_waiting;
        p->resume = 0;
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = p};
        epoll_ctl(poller, EPOLL_CTL_ADD, p->fd, &e);
        flush_out(p);
        digest(p);
        if (p->closing && !p->resume) hang_up(p);
    }
}

static void welcome(int listener)
{
    static uint64_t number;
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), one = 1;
        if (fd < 0) return;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct peer *p = malloc(sizeof *p);
        if (!p) die("malloc");
        p->fd = fd;
        p->number = ++number;
        p->in_data = p->closing = 0;
        p->resume = 0;
        p->in_size = p->out_size = p->raw_size = p->raw_room = 0;
        p->raw = NULL;
        shared->connections++;
        shared->open++;
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = p};
        epoll_ctl(poller, EPOLL_CTL_ADD, fd, &e);
        say(p, "220 sink.test ESMTP\r\n");
        flush_out(p);
        if (p->closing) hang_up(p);
    }
}

int main(int count, char **words)
{
    const char *host = "127.0.0.1", *share = NULL;
    int port = 0, o;
    while ((o = getopt(count, words, "h:p:d:v:L:R:S:")) != -1) {
        switch (o) {
        case 'h': host = optarg; break;
        case 'p': port = atoi(optarg); break;
        case 'd': delay = atof(optarg); break;
        case 'v': spread = atof(optarg); break;
        case 'L': if ((id_log = open(optarg, O_WRONLY | O_CREAT | O_APPEND, 0644)) < 0) die(optarg); break;
        case 'R': if ((raw_log = open(optarg, O_WRONLY | O_CREAT | O_APPEND, 0644)) < 0) die(optarg); break;
        case 'S': share = optarg; break;
        default:
            fprintf(stderr, "sink [-h HOST] [-p PORT] [-d SECONDS BEFORE MAIL IS ANSWERED] [-v SPREAD OF IT, 1: HALF LESS TO HALF MORE] "
                            "[-L ID-LOG] [-R RAW-LOG] "
                            "[-S SHARED-COUNTERS]; prints its port\n");
            return 2;
        }
    }
    if (share) {
        int fd = open(share, O_RDWR | O_CREAT, 0644);
        if (fd < 0 || ftruncate(fd, 4096) < 0) die(share);
        shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    }
    signal(SIGUSR1, on_hurry);
    signal(SIGTERM, on_signal);
    signal(SIGINT, on_signal);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, host, &a.sin_addr);
    if (bind(listener, (struct sockaddr *)&a, sizeof a) < 0 || listen(listener, 4096) < 0) die("listen");
    socklen_t size = sizeof a;
    getsockname(listener, (struct sockaddr *)&a, &size);
    printf("%d\n", ntohs(a.sin_port));
    fflush(stdout);
    poller = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &e);
    struct epoll_event events[256];
    while (!stop) {
        int timeout = 1000;
        if (waiting) {
            double left = (waiting->resume - now()) * 1e3;
            timeout = left < 0 ? 0 : (int)left + 1;
        }
        int n = epoll_wait(poller, events, 256, timeout);
        for (int i = 0; i < n; i++) {
            struct peer *p = events[i].data.ptr;
            if (p) readable(p);
            else welcome(listener);
        }
        wake();
    }
    return 0;
}
