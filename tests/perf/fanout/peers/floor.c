/*
 * The floor: what the kernel asks for a delivery. One send() per client and message, nothing else.
 *
 * floor ADDRESS CONTROL    ADDRESS: the path of a Unix socket, or a TCP port of this machine; CONTROL: a Unix socket.
 *                          A line on CONTROL is sent to every client as one text message.
 *
 * Does as much of the handshake as the benchmark's client needs, which always sends RFC 6455's example key.
 */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define MAX_CLIENTS 20000
#define ANSWER                                                                                                         \
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"                                \
    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"

static int clients[MAX_CLIENTS], count;

static void die(const char *what) {
    perror(what);
    exit(1);
}

static int listen_on(const char *where) {
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    struct sockaddr_in internet = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd, failed, on = 1;
    if (*where == '/') {
        strncpy(local.sun_path, where, sizeof local.sun_path - 1);
        fd = socket(AF_UNIX, SOCK_STREAM, 0);
        failed = bind(fd, (struct sockaddr *)&local, sizeof local);
    } else {
        internet.sin_port = htons((uint16_t)atoi(where));
        fd = socket(AF_INET, SOCK_STREAM, 0);
        failed = setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* accepted sockets inherit it */
        failed |= bind(fd, (struct sockaddr *)&internet, sizeof internet);
    }
    if (failed || listen(fd, 1024)) die(where);
    return fd;
}

static void greet(int listener) {
    char request[2048];
    size_t length = 0;
    int fd = accept(listener, NULL, NULL);
    if (fd < 0 || count == MAX_CLIENTS) die("accept");
    do {
        ssize_t got = recv(fd, request + length, sizeof request - 1 - length, 0);
        if (got <= 0) die("handshake");
        length += (size_t)got;
        request[length] = 0;
    } while (!strstr(request, "\r\n\r\n"));
    if (send(fd, ANSWER, sizeof ANSWER - 1, MSG_NOSIGNAL) < 0) die("handshake");
    clients[count++] = fd;
}

static void broadcast(const char *text, size_t length) {
    unsigned char frame[4 + 65536] = {0x81};
    size_t head = length < 126 ? 2 : 4;
    frame[1] = (unsigned char)(length < 126 ? length : 126);
    if (head == 4) {
        frame[2] = (unsigned char)(length >> 8);
        frame[3] = (unsigned char)length;
    }
    memcpy(frame + head, text, length);
    for (int i = 0; i < count; i++)
        if (send(clients[i], frame, head + length, MSG_NOSIGNAL) < 0) die("send");
}

int main(int argc, char **argv) {
    static char lines[1 << 20];
    size_t length = 0;
    struct rlimit limit;
    struct pollfd wanted[2];
    if (argc != 3) return 2;
    if (!getrlimit(RLIMIT_NOFILE, &limit)) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    wanted[0] = (struct pollfd){.fd = listen_on(argv[1]), .events = POLLIN};
    wanted[1] = (struct pollfd){.fd = listen_on(argv[2]), .events = POLLIN};
    wanted[1].fd = accept(wanted[1].fd, NULL, NULL);
    while (poll(wanted, 2, -1) >= 0) {
        if (wanted[0].revents) greet(wanted[0].fd);
        if (wanted[1].revents) {
            char *end, *from = lines;
            ssize_t got = recv(wanted[1].fd, lines + length, sizeof lines - length, 0);
            if (got <= 0) return 0;
            length += (size_t)got;
            while ((end = memchr(from, '\n', (size_t)(lines + length - from)))) {
                broadcast(from, (size_t)(end - from));
                from = end + 1;
            }
            length -= (size_t)(from - lines);
            memmove(lines, from, length);
        }
    }
    return 1;
}
