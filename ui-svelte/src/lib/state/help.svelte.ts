class HelpState {
	open = $state(false);
}

/** The list of shortcuts. */
export const help = new HelpState();
