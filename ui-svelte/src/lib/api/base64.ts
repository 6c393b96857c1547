// Bytes in JSON: as text when they are, otherwise in base64. Nothing outside of `api/` sees it.

import type { Encoding } from './types';

const encoder = new TextEncoder();
const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

export function decodeText(text: string, encoding: Encoding | undefined): Uint8Array {
	if (encoding === undefined) return encoder.encode(text);
	const binary = atob(text);
	const bytes = new Uint8Array(binary.length);
	for (let at = 0; at < binary.length; at++) bytes[at] = binary.charCodeAt(at);
	return bytes;
}

export function encodeText(bytes: Uint8Array): { text: string; encoding: Encoding | undefined } {
	try {
		return { text: strict.decode(bytes), encoding: undefined };
	} catch {
		return { text: toBase64(bytes), encoding: 'base64' };
	}
}

function toBase64(bytes: Uint8Array): string {
	// In parts: a call takes only so many arguments.
	const PART = 0x8000;
	let binary = '';
	for (let at = 0; at < bytes.length; at += PART) {
		binary += String.fromCharCode(...bytes.subarray(at, at + PART));
	}
	return btoa(binary);
}
