/*
 * Many WebSocket clients in one process that costs little: one epoll, one buffer, a few numbers per connection.
 *
 * client ADDRESS TOKENS [FIRST]    ADDRESS: the path of a Unix socket, or a TCP port of this machine; TOKENS: a file,
 *                                  one bearer token per line, taken in turn; FIRST: a text that each client sends
 *                                  once it is connected
 *
 * Commands come as lines on standard input; each is answered with one line of JSON.
 *   connect N                 open connections until there are N
 *   expect FROM COUNT SECONDS be ready for the messages FROM .. FROM+COUNT-1; a second line follows when every client
 *                             has got all of them, or after SECONDS
 *   report                    the figures of everything since the last report
 *
 * A message carries "perf:NNNNNN:TTTTTTTTTTTTTTTTT": its number, and when it was published, in nanoseconds of
 * CLOCK_MONOTONIC. Every client has to get every number once and in order; whatever else arrives counts as wrong.
 * Pings are answered. Other text is read over.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define MAX_CONNECTIONS 20000
#define IN_FLIGHT 32 /* handshakes at a time: below every server's backlog */
#define PATIENCE 1000 /* refusals with 503, after which a client comes again, as ours do */
#define BUFFER (1 << 20)
#define MARK "perf:"
#define MARK_LENGTH (5 + 6 + 1 + 17)
/* RFC 6455's own example: the key is always the same, and so is the answer to it. */
#define KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

enum state { CONNECTING, OPEN, CLOSED };

struct connection {
    int fd;
    enum state state;
    uint32_t next; /* the number that has to come now */
    char *rest;    /* an incomplete frame, or NULL */
    size_t rest_length;
};

static struct connection connections[MAX_CONNECTIONS];
static int opened, established, closed, refused;
static char **tokens;
static int token_count;
static const char *first_text;
static struct sockaddr_storage address;
static socklen_t address_length;
static int poller;
static char buffer[BUFFER];

static uint32_t window_from, window_count, known_next;
static int window_open, finished;
static uint64_t window_deadline;

static uint32_t *samples; /* microseconds from publication to arrival, of every delivery since the last report */
static size_t sample_count, sample_room;
static uint32_t *lasts; /* the same of the client that got a message last, by message */
static size_t last_count, last_room;
static uint64_t window_first, window_last, span; /* from the first publication to the last arrival */
static uint64_t wrong, reads; /* `reads` brought at least one message */
static size_t least_bytes = SIZE_MAX, most_bytes;

static void die(const char *what) {
    fprintf(stderr, "client: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t number(const char *digits, int length) {
    uint64_t value = 0;
    while (length--) value = value * 10 + (uint64_t)(*digits++ - '0');
    return value;
}

static void set_address(const char *text) {
    struct sockaddr_un *local = (struct sockaddr_un *)&address;
    struct sockaddr_in *internet = (struct sockaddr_in *)&address;
    if (*text == '/') {
        local->sun_family = AF_UNIX;
        strncpy(local->sun_path, text, sizeof local->sun_path - 1);
        address_length = sizeof *local;
    } else {
        internet->sin_family = AF_INET;
        internet->sin_port = htons((uint16_t)atoi(text));
        internet->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        address_length = sizeof *internet;
    }
}

static void *grown(void *old, size_t count, size_t *room, size_t size) {
    if (count < *room) return old;
    *room = *room ? *room * 2 : 1 << 20;
    old = realloc(old, *room * size);
    if (!old) die("memory");
    return old;
}

static void read_tokens(const char *file) {
    char line[512];
    FILE *in = fopen(file, "r");
    if (!in) die(file);
    while (fgets(line, sizeof line, in)) {
        line[strcspn(line, "\r\n")] = 0;
        tokens = realloc(tokens, (size_t)(token_count + 1) * sizeof *tokens);
        tokens[token_count++] = strdup(line);
    }
    fclose(in);
    if (!token_count) {
        fprintf(stderr, "client: %s holds no token\n", file);
        exit(1);
    }
}

static void send_all(int fd, const char *data, size_t length) {
    if (send(fd, data, length, MSG_NOSIGNAL) != (ssize_t)length) die("send"); /* a few bytes always fit */
}

/* A client masks what it sends; zeroes are a mask. */
static void send_frame(int fd, unsigned opcode, const char *payload, size_t length) {
    char frame[6 + 125] = {(char)(0x80 | opcode), (char)(0x80 | length)};
    memcpy(frame + 6, payload, length);
    send_all(fd, frame, 6 + length);
}

/* Return 0 when the server's queue of new connections is full. */
static int open_one(int which) {
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)which};
    char request[1024];
    int length;
    int fd = socket(address.ss_family, SOCK_STREAM, 0);
    if (fd < 0) die("socket");
    if (address.ss_family == AF_UNIX) fcntl(fd, F_SETFL, O_NONBLOCK); /* TCP never waits long for this machine */
    if (connect(fd, (struct sockaddr *)&address, address_length)) {
        if (errno != EAGAIN) die("connect");
        close(fd);
        return 0;
    }
    fcntl(fd, F_SETFL, O_NONBLOCK);
    length = snprintf(request, sizeof request,
                      "GET /api/ws HTTP/1.1\r\nHost: vuls.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                      "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " KEY "\r\nAuthorization: Bearer %s\r\n"
                      "X-Forwarded-For: 10.0.%d.%d\r\n\r\n",
                      tokens[which % token_count], which / 200, which % 200 + 1);
    send_all(fd, request, (size_t)length);
    connections[which] = (struct connection){.fd = fd, .state = CONNECTING, .next = known_next};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event)) die("epoll_ctl");
    return 1;
}

static void lose(struct connection *c) {
    close(c->fd);
    c->state = CLOSED;
    closed++;
}

static void received(struct connection *c, const char *mark, uint64_t at) {
    uint32_t which = (uint32_t)number(mark + 5, 6);
    uint64_t published = number(mark + 12, 17);
    uint32_t delay = (uint32_t)((at - published) / 1000), index = which - window_from;
    if (!window_open || which != c->next || index >= window_count) {
        wrong++;
        return;
    }
    c->next++;
    samples = grown(samples, sample_count, &sample_room, sizeof *samples);
    samples[sample_count++] = delay;
    if (delay > lasts[last_count + index]) lasts[last_count + index] = delay;
    if (published < window_first) window_first = published;
    window_last = at;
    if (index == window_count - 1) finished++;
}

/* A frame may hold several messages: some servers join them. */
static void read_text(struct connection *c, const char *text, size_t length, uint64_t at) {
    static size_t usual; /* where the mark was last time */
    const char *end = text + length, *from = text, *mark;
    size_t found = 0;
    if (usual + MARK_LENGTH <= length && !memcmp(text + usual, MARK, 5)) {
        from = text + usual;
    }
    while ((mark = memmem(from, (size_t)(end - from), MARK, 5)) && end - mark >= MARK_LENGTH) {
        if (!found++) usual = (size_t)(mark - text);
        from = mark + MARK_LENGTH;
        received(c, mark, at);
    }
    if (found == 1) {
        if (length < least_bytes) least_bytes = length;
        if (length > most_bytes) most_bytes = length;
    }
}

/* Return how many bytes were whole frames. */
static size_t read_frames(struct connection *c, const char *data, size_t length, uint64_t at) {
    size_t done = 0;
    while (length - done >= 2) {
        const unsigned char *f = (const unsigned char *)data + done;
        size_t head = 2, payload = f[1] & 127u;
        if (payload == 126) {
            if (length - done < 4) break;
            payload = (size_t)f[2] << 8 | f[3];
            head = 4;
        } else if (payload == 127) {
            if (length - done < 10) break;
            payload = (size_t)f[6] << 24 | (size_t)f[7] << 16 | (size_t)f[8] << 8 | f[9];
            head = 10;
        }
        if (length - done < head + payload) break;
        if ((f[0] & 15) == 1)
            read_text(c, data + done + head, payload, at);
        else if ((f[0] & 15) == 9)
            send_frame(c->fd, 10, data + done + head, payload);
        else if ((f[0] & 15) == 8) {
            fprintf(stderr, "client: the server closed a connection with %d\n", payload < 2 ? 0 : f[head] << 8 | f[head + 1]);
            lose(c);
            return length;
        }
        done += head + payload;
    }
    return done;
}

static size_t read_handshake(struct connection *c, char *data, size_t length) {
    char *end = memmem(data, length, "\r\n\r\n", 4);
    if (!end) return 0;
    *end = 0;
    if (!strncmp(data, "HTTP/1.1 503", 12) && ++refused < PATIENCE) {
        close(c->fd);
        while (!open_one((int)(c - connections))) usleep(10000);
        return length;
    }
    if (strncmp(data, "HTTP/1.1 101", 12) || !strstr(data, ACCEPT)) {
        fprintf(stderr, "client: the server refused a connection: %.300s\n", data);
        exit(1);
    }
    c->state = OPEN;
    established++;
    if (first_text) send_frame(c->fd, 1, first_text, strlen(first_text));
    return (size_t)(end + 4 - data);
}

static void readable(struct connection *c) {
    size_t length = c->rest_length, done = 0;
    ssize_t got;
    uint64_t at;
    if (c->state == CLOSED) return;
    if (c->rest) {
        memcpy(buffer, c->rest, length);
        free(c->rest);
        c->rest = NULL;
        c->rest_length = 0;
    }
    got = recv(c->fd, buffer + length, sizeof buffer - length, 0);
    at = now();
    if (got <= 0) {
        if (got < 0 && errno == EAGAIN) got = 0;
        else {
            lose(c);
            return;
        }
    }
    length += (size_t)got;
    if (c->state == CONNECTING) done = read_handshake(c, buffer, length);
    if (c->state == OPEN) {
        size_t before = sample_count;
        done += read_frames(c, buffer + done, length - done, at);
        reads += sample_count > before;
    }
    if (done < length && c->state != CLOSED) {
        c->rest_length = length - done;
        c->rest = malloc(c->rest_length);
        if (!c->rest) die("memory");
        memcpy(c->rest, buffer + done, c->rest_length);
    }
}

static void turn(int milliseconds) {
    struct epoll_event events[512];
    int count = epoll_wait(poller, events, 512, milliseconds);
    for (int i = 0; i < count; i++)
        if (events[i].data.u32 < MAX_CONNECTIONS) readable(&connections[events[i].data.u32]);
}

static void connect_until(int wanted) {
    uint64_t began = now();
    while (established < wanted && !closed) {
        while (opened < wanted && opened - established < IN_FLIGHT && open_one(opened)) opened++;
        turn(100);
        if (now() - began > 300ull * 1000000000u) break;
    }
    printf("{\"connected\": %d, \"seconds\": %.3f}\n", established, (double)(now() - began) / 1e9);
}

static void expect(uint32_t from, uint32_t count, uint32_t seconds) {
    for (int i = 0; i < opened; i++)
        if (connections[i].next != from) wrong++;
    window_from = from;
    window_count = count;
    known_next = from + count;
    finished = 0;
    window_open = 1;
    window_first = UINT64_MAX;
    window_last = 0;
    window_deadline = now() + (uint64_t)seconds * 1000000000u;
    while (last_count + count >= last_room) lasts = grown(lasts, last_room, &last_room, sizeof *lasts);
    memset(lasts + last_count, 0, count * sizeof *lasts);
    printf("{\"ready\": true}\n");
}

static void end_window(void) {
    window_open = 0;
    last_count += window_count;
    if (window_last) span += window_last - window_first;
    printf("{\"finished\": %d}\n", finished);
}

static int by_size(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static double quantile(const uint32_t *sorted, size_t count, double part) {
    size_t rank = (size_t)(part * (double)count + 0.999999999); /* nearest rank */
    return count ? sorted[rank ? rank - 1 : 0] / 1000.0 : 0;
}

static void report(void) {
    qsort(samples, sample_count, sizeof *samples, by_size);
    qsort(lasts, last_count, sizeof *lasts, by_size);
    printf("{\"deliveries\": %zu, \"span\": %.6f, \"p50\": %.3f, \"p99\": %.3f, \"last\": %.3f, \"worst\": %.3f, "
           "\"reads\": %llu, \"wrong\": %llu, \"closed\": %d, \"least_bytes\": %zu, \"most_bytes\": %zu}\n",
           sample_count, (double)span / 1e9, quantile(samples, sample_count, 0.5), quantile(samples, sample_count, 0.99),
           quantile(lasts, last_count, 0.5), quantile(lasts, last_count, 1), (unsigned long long)reads, (unsigned long long)wrong, closed,
           most_bytes ? least_bytes : 0, most_bytes);
    sample_count = last_count = 0;
    span = wrong = reads = 0;
    least_bytes = SIZE_MAX;
    most_bytes = 0;
}

static void command(char *line) {
    unsigned a, b, c;
    if (sscanf(line, "connect %u", &a) == 1 && a <= MAX_CONNECTIONS)
        connect_until((int)a);
    else if (sscanf(line, "expect %u %u %u", &a, &b, &c) == 3)
        expect(a, b, c);
    else if (!strcmp(line, "report"))
        report();
    else {
        fprintf(stderr, "client: unknown command: %s\n", line);
        exit(2);
    }
    fflush(stdout);
}

int main(int argc, char **argv) {
    struct rlimit limit;
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = MAX_CONNECTIONS};
    char line[256];
    size_t length = 0;
    if (argc < 3 || argc > 4) {
        fprintf(stderr, "usage: client ADDRESS TOKENS [FIRST]\n");
        return 2;
    }
    set_address(argv[1]);
    read_tokens(argv[2]);
    first_text = argc > 3 ? argv[3] : NULL;
    if (!getrlimit(RLIMIT_NOFILE, &limit)) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    poller = epoll_create1(0);
    if (poller < 0 || fcntl(0, F_SETFL, O_NONBLOCK) || epoll_ctl(poller, EPOLL_CTL_ADD, 0, &event)) die("epoll");
    for (;;) {
        ssize_t got;
        turn(window_open ? 100 : 1000);
        if (window_open && (finished == established || now() > window_deadline)) {
            end_window();
            fflush(stdout);
        }
        while ((got = read(0, line + length, sizeof line - 1 - length)) > 0) {
            char *end;
            length += (size_t)got;
            line[length] = 0;
            while ((end = strchr(line, '\n'))) {
                *end = 0;
                command(line);
                length -= (size_t)(end + 1 - line);
                memmove(line, end + 1, length + 1);
            }
        }
        if (got == 0) return 0;
    }
}
