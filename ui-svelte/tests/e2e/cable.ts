// The cable between a browser and a launcher, to be cut.

import { connect, createServer, type AddressInfo, type Socket } from 'node:net';

export interface Cable {
	/** The launcher's address at this end. */
	url: string;
	/** Breaks every connection; new ones are made as before. */
	cut: () => void;
	end: () => Promise<void>;
}

export async function cable(port: number): Promise<Cable> {
	const sockets = new Set<Socket>();
	const cut = () => sockets.forEach((socket) => socket.destroy());
	const server = createServer((near) => {
		const far = connect(port, '127.0.0.1');
		for (const [socket, other] of [
			[near, far],
			[far, near]
		] as const) {
			sockets.add(socket);
			socket.pipe(other);
			socket.on('error', () => other.destroy());
			socket.on('close', () => {
				sockets.delete(socket);
				other.destroy();
			});
		}
	});
	await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
	return {
		url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
		cut,
		end: () =>
			new Promise((ended) => {
				server.close(() => ended());
				cut();
			})
	};
}
