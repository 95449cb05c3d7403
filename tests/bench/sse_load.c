/* N readers of one event stream and one writer in a closed loop or at a fixed rate, in one epoll loop.
 *
 *   sse_load PORT READERS EVENTS RATE     RATE 0: the next event is asked for as soon as the last was accepted
 *
 * Each POST /publish makes one event, whose data begin with {"seq":N, and N is 1, 2, 3 ... A server that does not count
 * by itself finds such data in the body. Prints "ready SECONDS"
 * when all readers have their 200, waits for a line, runs, prints one line of JSON. Latency counts from the moment an
 * event was due, so that a stall cannot hide. Each reader checks its own numbers: lost, twice and disordered must be 0. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER = 1 << 16, SLOTS = 4000000 };

typedef struct {
    int fd, state; /* 0 connecting, 1 asked, 2 reading, 3 gone */
    uint32_t last; /* the newest number seen */
    int at;        /* how much of MARK matched so far; all of it: inside the number */
    uint32_t number;
} reader;

static const char ASK[] = "GET /events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n";
static const char PUBLISH[] = "POST /publish HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s";
static const char EVENT[] = "{\"seq\":%d,\"type\":\"job.progress\",\"time\":\"2026-11-20T12:00:00.000000Z\",\"job\":"
                            "\"job_01jd0000000000000000000000\",\"run\":null,\"data\":{\"text\":\"%080d\"}}";
static const char MARK[] = "\ndata: {\"seq\":";
enum { MARKED = sizeof MARK - 1 };

static uint64_t delivered, twice, disordered;
static double *due;
static float *latencies;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static int dial(int port) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (fd < 0 || (connect(fd, (void *)&to, sizeof to) < 0 && errno != EINPROGRESS)) { perror("connect"); exit(1); }
    return fd;
}

static void heard(reader *r, uint32_t number, double t) {
    if (number == r->last) twice++;
    else if (number != r->last + 1) disordered++;
    if (number > r->last) r->last = number;
    if (delivered < SLOTS) latencies[delivered] = (float)(t - due[number]);
    delivered++;
}

static void scan(reader *r, const char *p, const char *end, double t) {
    while (p < end) {
        if (r->at == 0 && !(p = memchr(p, '\n', end - p))) return;
        if (r->at < MARKED) {
            r->at = *p == MARK[r->at] ? r->at + 1 : *p == '\n';
            r->number = 0;
        } else if (*p >= '0' && *p <= '9') {
            r->number = r->number * 10 + (*p - '0');
        } else {
            heard(r, r->number, t);
            r->at = *p == '\n';
        }
        p++;
    }
}

static ssize_t publish(int fd, int number) {
    char event[512], whole[1024];
    int size = snprintf(event, sizeof event, EVENT, number, 0);
    return write(fd, whole, snprintf(whole, sizeof whole, PUBLISH, size, event));
}

static int ascending(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv) {
    if (argc != 5) return 2;
    int port = atoi(argv[1]), n = atoi(argv[2]), events = atoi(argv[3]);
    double rate = atof(argv[4]);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    reader *all = calloc(n, sizeof *all);
    due = calloc(events + 2, sizeof *due);
    latencies = malloc(sizeof *latencies * SLOTS);
    char *buffer = malloc(BUFFER);
    int ep = epoll_create1(0), dialed = 0, ready = 0, gone = 0;
    struct epoll_event seen[512];
    double began = now();

    while (ready + gone < n) {
        for (; dialed < n && dialed - ready - gone < 200; dialed++) {
            all[dialed].fd = dial(port);
            struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = &all[dialed]};
            epoll_ctl(ep, EPOLL_CTL_ADD, all[dialed].fd, &e);
        }
        for (int i = 0, k = epoll_wait(ep, seen, 512, 1000); i < k; i++) {
            reader *r = seen[i].data.ptr;
            if (r->state == 0 && seen[i].events & EPOLLOUT) r->state = write(r->fd, ASK, sizeof ASK - 1) > 0 ? 1 : 0;
            ssize_t got = r->state == 1 ? read(r->fd, buffer, BUFFER) : -1;
            if (got > 0) {
                if (memcmp(buffer + 9, "200", 3)) { fprintf(stderr, "%.300s\n", buffer); return 1; }
                r->state = 2, ready++;
            } else if (got == 0) r->state = 3, gone++;
        }
        if (now() - began > 60) { fprintf(stderr, "only %d of %d came in\n", ready, n); return 1; }
    }
    printf("ready %.3f\n", now() - began);
    fflush(stdout);
    if (!fgets(buffer, 16, stdin)) return 1;

    int writer = dial(port), asked = 0, accepted = 0;
    struct epoll_event w = {.events = EPOLLIN | EPOLLET, .data.ptr = NULL};
    epoll_ctl(ep, EPOLL_CTL_ADD, writer, &w);
    usleep(50000);
    double start = now(), last = start;
    while (delivered < (uint64_t)events * n && now() - last < 10 && now() - start < 60) {
        double t = now(), next = rate > 0 ? start + asked / rate : t;
        if (asked < events && asked == accepted && t >= next) {
            due[++asked] = next;
            if (publish(writer, asked) < 0) { perror("write"); return 1; }
        }
        int wait = asked < events && asked == accepted && next > t ? (int)((next - t) * 1000) : 50;
        for (int i = 0, k = epoll_wait(ep, seen, 512, wait); i < k; i++) {
            reader *r = seen[i].data.ptr;
            for (ssize_t got; (got = read(r ? r->fd : writer, buffer, BUFFER)) > 0;) {
                if (!r) accepted++;
                else scan(r, buffer, buffer + got, last = now());
            }
        }
    }
    uint64_t count = delivered < SLOTS ? delivered : SLOTS, lost = 0;
    for (int i = 0; i < n; i++) lost += asked - all[i].last;
    qsort(latencies, count, sizeof *latencies, ascending);
    printf("{\"readers\": %d, \"events\": %d, \"delivered\": %lu, \"lost\": %lu, \"twice\": %lu, \"disordered\": %lu, "
           "\"seconds\": %.3f, \"p50_ms\": %.2f, \"p99_ms\": %.2f}\n",
           ready, asked, delivered, lost, twice, disordered, last - start,
           count ? latencies[count / 2] * 1e3 : 0.0, count ? latencies[count * 99 / 100] * 1e3 : 0.0);
    return 0;
}
