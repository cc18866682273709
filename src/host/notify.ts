import { sendDatagram } from './libc.js';

/**
 * Tells the service manager that this process is ready, as sd_notify(3) describes: one datagram to the socket it named. Node
 * has no datagram sockets of the unix kind, and the program systemd-notify would speak for a process that has ended already.
 *
 * @param socket the variable NOTIFY_SOCKET: a path, or `@` and an abstract name.
 * @throws a system error when no process listens there.
 */
export function notifyReady(socket: string): void {
  sendDatagram(socket.startsWith('@') ? `\0${socket.slice(1)}` : socket, 'READY=1');
}
