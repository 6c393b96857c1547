import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { prefs } from './prefs.svelte';
import { keyName, keeps, Shortcuts } from './shortcuts.svelte';

const press = (
	all: Shortcuts,
	key: string,
	init: KeyboardEventInit = {},
	target = document.body
) => {
	const event = new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true, ...init });
	target.addEventListener('keydown', (heard) => all.press(heard as KeyboardEvent), { once: true });
	target.dispatchEvent(event);
	return event;
};
const inside = (html: string): HTMLElement => {
	const host = document.createElement('div');
	host.innerHTML = html;
	document.body.append(host);
	return host.querySelector<HTMLElement>('[data-here]') ?? host;
};

let all: Shortcuts;
const add = (keys: string, run = vi.fn()) => {
	all.add({ keys, label: keys, run, scope: 'Test' });
	return run;
};

beforeEach(() => {
	all = new Shortcuts();
	prefs.shortcuts = true;
});
afterEach(() => document.body.replaceChildren());

describe('shortcuts', () => {
	it('names keys as they are registered', () => {
		const name = (key: string, init: Partial<KeyboardEventInit> = {}) =>
			keyName({ key, ctrlKey: false, metaKey: false, shiftKey: false, ...init });
		expect(name('K', { metaKey: true })).toBe('Mod+k');
		expect(name('X', { shiftKey: true })).toBe('Shift+x');
		expect(name('?', { shiftKey: true })).toBe('?');
		expect(name('Delete')).toBe('Delete');
	});

	it('runs what was registered last, and the one before once that is gone', () => {
		const first = add('t');
		const second = vi.fn();
		const remove = all.add({ keys: 't', label: 't', run: second, scope: 'Test' });
		press(all, 't');
		remove();
		press(all, 't');
		expect([first.mock.calls.length, second.mock.calls.length]).toEqual([1, 1]);
	});

	it('takes two keys one after the other, but not after a pause', () => {
		const run = add('g n');
		const at = vi.spyOn(Event.prototype, 'timeStamp', 'get');
		at.mockReturnValue(0);
		press(all, 'g');
		at.mockReturnValue(200);
		expect(press(all, 'n').defaultPrevented).toBe(true);
		press(all, 'g');
		at.mockReturnValue(9_000);
		press(all, 'n');
		expect(run).toHaveBeenCalledTimes(1);
	});

	it.each([
		'<input data-here>',
		'<textarea data-here></textarea>',
		'<select data-here></select>',
		'<div contenteditable="true"><b data-here></b></div>'
	])('leaves single keys to %s, and acts on Ctrl there', (html) => {
		const [single, control] = [add('t'), add('Mod+k')];
		const target = inside(html);
		press(all, 't', {}, target);
		press(all, 'k', { ctrlKey: true }, target);
		expect([single.mock.calls.length, control.mock.calls.length]).toEqual([0, 1]);
	});

	it('does not act behind a dialog', () => {
		const run = add('t');
		inside('<dialog open data-here></dialog>');
		press(all, 't');
		expect(run).not.toHaveBeenCalled();
	});

	it('acts though a field of a dialog that was just closed has the focus still', () => {
		const run = add('t');
		press(all, 't', {}, inside('<dialog><input data-here></dialog>'));
		expect(run).toHaveBeenCalledTimes(1);
	});

	it('acts on what is ticked and not typed into, but leaves it its Space', () => {
		const run = add('t');
		const target = inside('<input type="checkbox" data-here>');
		press(all, 't', {}, target);
		expect(run).toHaveBeenCalledTimes(1);
		expect(keeps(target, ' ')).toBe(true);
	});

	it('can be switched off where they are characters', () => {
		const [character, pair, named] = [add('t'), add('g n'), add('Delete')];
		prefs.shortcuts = false;
		for (const key of ['t', 'g', 'n', 'Delete']) press(all, key);
		const calls = [character, pair, named].map((run) => run.mock.calls.length);
		expect(calls).toEqual([0, 0, 1]);
	});

	it('leaves Enter to what is pressed by it, and arrows to what is moved in by them', () => {
		expect(keeps(inside('<button data-here></button>'), 'Enter')).toBe(true);
		expect(keeps(inside('<p data-here></p>'), 'Enter')).toBe(false);
		expect(keeps(inside('<div role="menu"><b data-here></b></div>'), 'ArrowDown')).toBe(true);
		expect(keeps(inside('<div role="list"><b data-here></b></div>'), 'ArrowDown')).toBe(false);
	});
});
