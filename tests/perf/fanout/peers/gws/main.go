// Command gws broadcasts with github.com/lxzan/gws, the way its documentation does.
//
//	gws ADDRESS CONTROL    ADDRESS: the path of a Unix socket, or a TCP port of this machine; CONTROL: a Unix socket
package main

import (
	"bufio"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"

	"github.com/lxzan/gws"
)

type handler struct {
	gws.BuiltinEventHandler
	mu      sync.Mutex
	clients map[*gws.Conn]struct{}
}

func (h *handler) OnOpen(c *gws.Conn) {
	h.mu.Lock()
	h.clients[c] = struct{}{}
	h.mu.Unlock()
}

func (h *handler) OnClose(c *gws.Conn, _ error) {
	h.mu.Lock()
	delete(h.clients, c)
	h.mu.Unlock()
}

func (h *handler) broadcast(message []byte) {
	b := gws.NewBroadcaster(gws.OpcodeText, message)
	defer b.Close()
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.clients {
		_ = b.Broadcast(c)
	}
}

func listen(address string) net.Listener {
	network := "unix"
	if !strings.HasPrefix(address, "/") {
		network, address = "tcp", "127.0.0.1:"+address
	}
	l, err := net.Listen(network, address)
	if err != nil {
		log.Fatal(err)
	}
	return l
}

func main() {
	h := &handler{clients: map[*gws.Conn]struct{}{}}
	upgrader := gws.NewUpgrader(h, nil)
	go func() {
		log.Fatal(http.Serve(listen(os.Args[1]), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c, err := upgrader.Upgrade(w, r)
			if err == nil {
				go c.ReadLoop() // in a goroutine of its own, so that the request can be freed
			}
		})))
	}()
	control, err := listen(os.Args[2]).Accept()
	if err != nil {
		log.Fatal(err)
	}
	for lines := bufio.NewScanner(control); lines.Scan(); {
		h.broadcast(append([]byte(nil), lines.Bytes()...))
	}
}
