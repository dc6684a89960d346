/* Sends mail as fast as a server takes it: N closed-loop SMTP sessions on one thread, counted and timed.
 *
 * It is cheap on purpose (one epoll loop, bodies prepared once, no allocation per message), so that what is measured
 * is the server. Every message gets an id of its own in two header fields written in front of the body; an id is
 * appended to the acknowledgement log only after the 250 to the end of data has been read. Build: bench/build.py.
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
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum state { IDLE, GREETING, HELLO, MAIL, RCPT, DATA, BODY, QUIT };

struct body { char *bytes; size_t size; };

struct session {
    int fd, waiting_out;
    enum state state;
    int expected;               /* replies still owed to what was sent in one go */
    int serial;                 /* messages on this connection */
    double started, wake;
    char id[64];
    char reply[2048];
    size_t reply_size;
    char out[1024];
    size_t out_size, out_done;
    char head[256];
    size_t head_size;
    const struct body *body;
    size_t body_done;           /* octets of head + body + end mark already sent */
};

struct shared { uint64_t attempted, acknowledged, refused, broken; };

static struct session *sessions;
static struct body bodies[64];
static int body_count;
static char *recipients[256];
static int recipient_count;
static const char *host = "127.0.0.1", *sender = "sender@load.test", *prefix = "m", *helo = "load.test";
static int port, session_count = 1, kept, pipelined, tolerant;
static uint64_t wanted = 1000, begun;
static double seconds, pause_after_failure = 0.02, pace, started;
static struct shared local, *shared = &local;
static FILE *acknowledgements;
static float *latencies;
static uint64_t latency_count, latency_room;
static volatile sig_atomic_t stop;
static int poller;
static char first_trouble[512];

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void on_signal(int number) { (void)number; stop = 1; }

static void die(const char *what) { perror(what); exit(2); }

static void read_body(const char *path)
{
    int fd = open(path, O_RDONLY);
    struct stat s;
    if (fd < 0 || fstat(fd, &s) < 0) die(path);
    struct body *b = &bodies[body_count++];
    b->bytes = malloc(s.st_size + 1);
    b->size = s.st_size;
    for (size_t got = 0; got < b->size;) {
        ssize_t n = read(fd, b->bytes + got, b->size - got);
        if (n <= 0) die(path);
        got += n;
    }
    close(fd);
}

static void watch(struct session *s, int out)
{
    if (s->waiting_out == out) return;
    struct epoll_event e = {.events = EPOLLIN | (out ? EPOLLOUT : 0), .data.ptr = s};
    epoll_ctl(poller, EPOLL_CTL_MOD, s->fd, &e);
    s->waiting_out = out;
}

static void fail(struct session *s, const char *why)
{
    if (!first_trouble[0]) snprintf(first_trouble, sizeof first_trouble, "%s (state %d)", why, s->state);
    if (s->fd >= 0) close(s->fd);
    s->fd = -1;
    s->state = IDLE;
    s->wake = now() + pause_after_failure;
    if (!tolerant) stop = 1;
}

static void flush_out(struct session *s)
{
    while (s->out_done < s->out_size) {
        ssize_t n = send(s->fd, s->out + s->out_done, s->out_size - s->out_done, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) { watch(s, 1); return; }
        if (n < 0) { shared->broken++; fail(s, "send failed"); return; }
        s->out_done += n;
    }
    s->out_size = s->out_done = 0;
    watch(s, 0);
}

static void say(struct session *s, const char *text, int replies)
{
    size_t n = strlen(text);
    memcpy(s->out + s->out_size, text, n);
    s->out_size += n;
    s->expected += replies;
}

static void flush_body(struct session *s)
{
    static const char end[] = ".\r\n";
    size_t total = s->head_size + s->body->size + 3;
    while (s->body_done < total) {
        struct iovec v[3];
        int n = 0;
        size_t at = s->body_done;
        if (at < s->head_size) v[n++] = (struct iovec){s->head + at, s->head_size - at}, at = s->head_size;
        size_t off = at - s->head_size;
        if (off < s->body->size) v[n++] = (struct iovec){s->body->bytes + off, s->body->size - off}, off = s->body->size;
        off -= s->body->size;
        v[n++] = (struct iovec){(char *)end + off, 3 - off};
        struct msghdr m = {.msg_iov = v, .msg_iovlen = n};
        ssize_t sent = sendmsg(s->fd, &m, MSG_NOSIGNAL);
        if (sent < 0 && errno == EAGAIN) { watch(s, 1); return; }
        if (sent < 0) { shared->broken++; fail(s, "send failed in the body"); return; }
        s->body_done += sent;
    }
    watch(s, 0);
}

static int more_wanted(void) { return !stop && begun < wanted; }

/* Whether the pace allows another message now. */
static int in_time(double at) { return !pace || begun < (uint64_t)((at - started) * pace) + 1; }

static void next_message(struct session *s)
{
    uint64_t number = begun++;
    shared->attempted++;
    snprintf(s->id, sizeof s->id, "%s-%llu", prefix, (unsigned long long)number);
    s->body = &bodies[number % body_count];
    s->head_size = snprintf(s->head, sizeof s->head, "X-Load-Id: %s\r\nMessage-ID: <%s@load.test>\r\n", s->id, s->id);
    s->body_done = 0;
    if (kept && s->serial) s->started = now();
    s->serial++;
    char line[512];
    snprintf(line, sizeof line, "MAIL FROM:<%s>\r\n", sender);
    say(s, line, 1);
    if (pipelined) {
        snprintf(line, sizeof line, "RCPT TO:<%s>\r\nDATA\r\n", recipients[number % recipient_count]);
        say(s, line, 2);
    }
    s->state = MAIL;
    flush_out(s);
}

static void dial(struct session *s)
{
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s->fd < 0) die("socket");
    int one = 1;
    setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, host, &a.sin_addr);
    s->started = now();
    s->state = GREETING;
    s->expected = 1;
    s->serial = 0;
    s->reply_size = s->out_size = s->out_done = 0;
    s->waiting_out = 0;
    if (connect(s->fd, (struct sockaddr *)&a, sizeof a) < 0 && errno != EINPROGRESS) {
        shared->broken++;
        fail(s, "cannot connect");
        return;
    }
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = s};
    epoll_ctl(poller, EPOLL_CTL_ADD, s->fd, &e);
}

static void hang_up(struct session *s)
{
    close(s->fd);
    s->fd = -1;
    s->state = IDLE;
    s->wake = 0;
}

static void acknowledged(struct session *s)
{
    float took = (float)(now() - s->started);
    shared->acknowledged++;
    if (latency_count < latency_room) latencies[latency_count++] = took;
    if (acknowledgements) {
        fprintf(acknowledgements, "%s\n", s->id);
        if (tolerant) fflush(acknowledgements);
    }
}

/* One whole reply: go on with the conversation. */
static void answered(struct session *s, int code, const char *text)
{
    char line[512];
    if (code >= 400) {
        shared->refused++;
        fail(s, text);
        return;
    }
    s->expected--;
    switch (s->state) {
    case GREETING:
        snprintf(line, sizeof line, "EHLO %s\r\n", helo);
        say(s, line, 1);
        s->state = HELLO;
        flush_out(s);
        break;
    case HELLO:
        if (more_wanted()) {
            next_message(s);
        } else {
            say(s, "QUIT\r\n", 1);
            s->state = QUIT;
            flush_out(s);
        }
        break;
    case MAIL:
        s->state = RCPT;
        if (!pipelined) {
            snprintf(line, sizeof line, "RCPT TO:<%s>\r\n", recipients[(begun - 1) % recipient_count]);
            say(s, line, 1);
            flush_out(s);
        }
        break;
    case RCPT:
        s->state = DATA;
        if (!pipelined) {
            say(s, "DATA\r\n", 1);
            flush_out(s);
        }
        break;
    case DATA:
        s->state = BODY;
        s->expected = 1;
        flush_body(s);
        break;
    case BODY:
        acknowledged(s);
        if (kept && more_wanted()) {
            next_message(s);
        } else {
            say(s, "QUIT\r\n", 1);
            s->state = QUIT;
            flush_out(s);
        }
        break;
    default:
        hang_up(s);
    }
}

static void readable(struct session *s)
{
    ssize_t n = recv(s->fd, s->reply + s->reply_size, sizeof s->reply - 1 - s->reply_size, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) {
        if (s->state == QUIT) { hang_up(s); return; }
        shared->broken++;
        fail(s, n < 0 ? strerror(errno) : "the server hung up");
        return;
    }
    s->reply_size += n;
    s->reply[s->reply_size] = 0;
    char *start = s->reply, *end;
    while (s->fd >= 0 && (end = strstr(start, "\r\n"))) {
        *end = 0;
        if (strlen(start) >= 3 && start[3] != '-') {
            char copy[256];
            snprintf(copy, sizeof copy, "%s", start);
            start = end + 2;
            answered(s, atoi(copy), copy);
            if (s->state == IDLE) return;
        } else {
            start = end + 2;
        }
    }
    s->reply_size = s->reply + s->reply_size - start;
    memmove(s->reply, start, s->reply_size);
    if (s->reply_size >= sizeof s->reply - 1) fail(s, "reply line too long");
}

static int ascending(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return x < y ? -1 : x > y;
}

static double percentile(double share)
{
    if (!latency_count) return 0;
    uint64_t at = (uint64_t)(share * (latency_count - 1));
    return latencies[at] * 1e3;
}

static void run(void)
{
    struct epoll_event events[256];
    double end = seconds > 0 ? now() + seconds : 0;
    for (;;) {
        int busy = 0;
        double at = now();
        if (end && at > end) stop = 1;
        for (int i = 0; i < session_count; i++) {
            struct session *s = &sessions[i];
            if (s->state == IDLE && s->wake <= at && more_wanted() && in_time(at)) dial(s);
            busy += s->state != IDLE || more_wanted();
        }
        if (!busy || (stop && !tolerant && first_trouble[0])) return;
        if (stop == 1 && end == 0) end = at + 5, seconds = 0;
        if (stop && at > end + 5) return;
        int n = epoll_wait(poller, events, 256, pace ? 2 : tolerant || end ? 10 : 200);
        for (int i = 0; i < n; i++) {
            struct session *s = events[i].data.ptr;
            if (s->fd < 0) continue;
            if (events[i].events & EPOLLOUT) {
                if (s->state == BODY) flush_body(s);
                else flush_out(s);
            }
            if (s->fd >= 0 && events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) readable(s);
        }
    }
}

int main(int count, char **words)
{
    const char *log = NULL, *share = NULL;
    int o;
    while ((o = getopt(count, words, "h:p:n:c:kPTs:f:t:b:i:e:A:S:w:r:")) != -1) {
        switch (o) {
        case 'h': host = optarg; break;
        case 'p': port = atoi(optarg); break;
        case 'n': wanted = strtoull(optarg, NULL, 10); break;
        case 'c': session_count = atoi(optarg); break;
        case 'k': kept = 1; break;
        case 'P': pipelined = 1; break;
        case 'T': tolerant = 1; break;
        case 's': seconds = atof(optarg); break;
        case 'f': sender = optarg; break;
        case 't': if (recipient_count < 256) recipients[recipient_count++] = optarg; break;
        case 'b': if (body_count < 64) read_body(optarg); break;
        case 'i': prefix = optarg; break;
        case 'e': helo = optarg; break;
        case 'A': log = optarg; break;
        case 'S': share = optarg; break;
        case 'w': pause_after_failure = atof(optarg); break;
        case 'r': pace = atof(optarg); break;
        default:
            fprintf(stderr, "load -p PORT -b BODY... -t RECIPIENT... [-h HOST] [-n MESSAGES] [-s SECONDS] [-c SESSIONS] "
                            "[-k kept connections] [-P pipelined] [-T go on after failures] [-w PAUSE] [-r NEW CONNECTIONS A SECOND] [-f SENDER] "
                            "[-i ID-PREFIX] [-e HELO] [-A ACK-LOG] [-S SHARED-COUNTERS]\n");
            return 2;
        }
    }
    if (!port || !body_count || !recipient_count) { fprintf(stderr, "load: -p, -b and -t are needed\n"); return 2; }
    if (log && !(acknowledgements = fopen(log, "a"))) die(log);
    if (share) {
        int fd = open(share, O_RDWR | O_CREAT, 0644);
        if (fd < 0 || ftruncate(fd, 4096) < 0) die(share);
        shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    }
    signal(SIGTERM, on_signal);
    signal(SIGINT, on_signal);
    latency_room = wanted < 4000000 ? wanted : 4000000;
    latencies = malloc(sizeof *latencies * (latency_room + 1));
    sessions = calloc(session_count, sizeof *sessions);
    for (int i = 0; i < session_count; i++) sessions[i].fd = -1;
    poller = epoll_create1(EPOLL_CLOEXEC);
    started = now();
    run();
    double took = now() - started;
    if (acknowledgements) fclose(acknowledgements);
    qsort(latencies, latency_count, sizeof *latencies, ascending);
    printf("{\"acknowledged\": %llu, \"refused\": %llu, \"broken\": %llu, \"seconds\": %.6f, \"rate\": %.1f, "
           "\"p50_ms\": %.4f, \"p90_ms\": %.4f, \"p99_ms\": %.4f, \"max_ms\": %.4f, \"trouble\": \"",
           (unsigned long long)shared->acknowledged, (unsigned long long)shared->refused,
           (unsigned long long)shared->broken, took, shared->acknowledged / took, percentile(.50), percentile(.90),
           percentile(.99), percentile(1));
    for (char *c = first_trouble; *c; c++) putchar(*c < ' ' || *c == '"' || *c == '\\' ? '?' : *c);
    printf("\"}\n");
    return first_trouble[0] && !tolerant;
}
