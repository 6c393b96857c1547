/** Ways to take data out of the page. */
import { percentEncode } from '$lib/api/client';
import { display } from '$lib/format/key';

/** A command that reads the key. */
export function curlOf(key: Uint8Array, origin = location.origin): string {
	// Programs take `.` and `..` out of an address as browsers do, unless they are told not to.
	return `curl --path-as-is '${origin}/api/v1/kv/${percentEncode(key)}'`;
}

/** A name for a file with what `key` holds, which no system takes for anything else than a name. */
export function fileName(key: Uint8Array): string {
	const { text } = display(key);
	const last = text.slice(text.slice(0, -1).lastIndexOf('/') + 1);
	const plain = last
		.replace(/[^A-Za-z0-9._-]+/g, '_')
		.replace(/^\.+/, '_')
		.slice(0, 80);
	return plain === '' || plain === '_' ? 'value' : plain;
}

/** Has the browser save `content` as a file. */
export function save(name: string, content: Blob): void {
	const url = URL.createObjectURL(content);
	const link = document.createElement('a');
	link.href = url;
	link.download = name;
	link.click();
	// The download has its own hold on the content once it has begun.
	setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/** A name for a file with the keys of a prefix. */
export function exportName(prefix: Uint8Array): string {
	return `axon-${prefix.length === 0 ? 'all' : fileName(prefix)}.jsonl`;
}
