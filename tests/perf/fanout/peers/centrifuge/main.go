// Command centrifuge broadcasts with github.com/centrifugal/centrifuge: everyone is subscribed to one channel of the
// memory broker, without history. No pings are sent.
//
//	centrifuge ADDRESS CONTROL    ADDRESS: the path of a Unix socket, or a TCP port of this machine; CONTROL: a Unix socket
package main

import (
	"bufio"
	"context"
	"log"
	"net"
	"net/http"
	"os"
	"strings"

	"github.com/centrifugal/centrifuge"
)

const channel = "feed"

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
	node, err := centrifuge.New(centrifuge.Config{})
	if err != nil {
		log.Fatal(err)
	}
	node.OnConnecting(func(context.Context, centrifuge.ConnectEvent) (centrifuge.ConnectReply, error) {
		return centrifuge.ConnectReply{
			Credentials:   &centrifuge.Credentials{UserID: "user"},
			Subscriptions: map[string]centrifuge.SubscribeOptions{channel: {}},
		}, nil
	})
	if err := node.Run(); err != nil {
		log.Fatal(err)
	}
	config := centrifuge.WebsocketConfig{CheckOrigin: func(*http.Request) bool { return true }}
	config.PingInterval = -1
	go func() { log.Fatal(http.Serve(listen(os.Args[1]), centrifuge.NewWebsocketHandler(node, config))) }()
	control, err := listen(os.Args[2]).Accept()
	if err != nil {
		log.Fatal(err)
	}
	for lines := bufio.NewScanner(control); lines.Scan(); {
		if _, err := node.Publish(channel, append([]byte(nil), lines.Bytes()...)); err != nil {
			log.Fatal(err)
		}
	}
}
