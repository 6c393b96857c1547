import { createContext } from 'svelte';

/** What a Field tells the control inside it. */
export type FieldContext = {
	readonly id: string;
	readonly describedBy: string | undefined;
	readonly invalid: boolean;
};

const [get, setField] = createContext<FieldContext>();

export { setField };

/** The Field around a control; a control may also stand alone. */
export function field(): FieldContext | null {
	try {
		return get();
	} catch {
		return null;
	}
}
