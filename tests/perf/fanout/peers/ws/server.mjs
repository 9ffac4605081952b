// Broadcasts with ws, the way its documentation does; the message is made into a buffer once.
//   node server.mjs ADDRESS CONTROL    ADDRESS: the path of a Unix socket, or a TCP port of this machine; CONTROL: a Unix
//   socket
import http from "node:http";
import net from "node:net";
import readline from "node:readline";
import { WebSocketServer } from "ws";

const [address, control] = process.argv.slice(2);
const server = http.createServer();
const feed = new WebSocketServer({ server, perMessageDeflate: false });
server.listen(address.startsWith("/") ? address : { host: "127.0.0.1", port: Number(address) });
net.createServer((driver) => {
  readline.createInterface({ input: driver }).on("line", (line) => {
    const message = Buffer.from(line);
    for (const client of feed.clients) client.send(message, { binary: false });
  });
}).listen(control);
