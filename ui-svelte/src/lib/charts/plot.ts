// The lines of a chart on a canvas. Its axes, grid, marks and legend are elements around it, which the
// stylesheet colours; so only the lines need to know what the theme is.
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { resolver, type ChartTone } from './tones';

export interface PlotLine {
	tone: ChartTone;
	dash: boolean;
	/** Whether the area below it is tinted. */
	area: boolean;
}

export interface PlotData {
	t: Float64Array;
	columns: readonly Float64Array[];
	from: number;
	to: number;
	top: number;
}

/** Charts with this key share their crosshair. */
const SYNC = 'axon';

/** Above and below the lines, so that the highest and the lowest are not cut in half. */
export const PLOT_PAD = 2;

/** Unknown seconds are gaps for the library only as `null`. */
const withGaps = (column: Float64Array) =>
	Array.from(column, (value) => (Number.isNaN(value) ? null : value));

/** Known seconds between unknown ones: no line leads there. */
function alone(plot: uPlot, series: number): number[] {
	const values = plot.data[series] ?? [];
	const found: number[] = [];
	for (let i = 0; i < values.length; i++) {
		if (values[i] != null && values[i - 1] == null && values[i + 1] == null) found.push(i);
	}
	return found;
}

export class Plot {
	readonly #plot: uPlot;
	readonly #theme: MutationObserver;
	#data: PlotData;

	constructor(
		host: HTMLElement,
		lines: readonly PlotLine[],
		data: PlotData,
		oncursor: (index: number | null) => void
	) {
		this.#data = data;
		const colour = resolver(host);
		const fill = (tone: ChartTone) => (plot: uPlot) => {
			const { top, height } = plot.bbox;
			const gradient = plot.ctx.createLinearGradient(0, top, 0, top + height);
			gradient.addColorStop(0, colour(tone, 16));
			gradient.addColorStop(1, colour(tone, 0));
			return gradient;
		};
		this.#plot = new uPlot(
			{
				width: host.clientWidth,
				height: host.clientHeight,
				padding: [PLOT_PAD, 0, PLOT_PAD, 0],
				legend: { show: false },
				axes: [{ show: false }, { show: false }],
				scales: {
					x: { time: false, range: () => [this.#data.from, this.#data.to] },
					y: { range: () => [0, this.#data.top] }
				},
				cursor: {
					y: false,
					drag: { x: false, y: false },
					sync: { key: SYNC, scales: ['x', null] },
					points: { size: 6 }
				},
				series: [
					{},
					...lines.map(({ tone, dash, area }) => ({
						stroke: () => colour(tone),
						width: 1.6,
						...(dash ? { dash: [4, 3] } : {}),
						...(area ? { fill: fill(tone) } : {}),
						points: { show: false, size: 4, fill: () => colour(tone), filter: alone }
					}))
				],
				hooks: { setCursor: [(plot) => oncursor(plot.cursor.idx ?? null)] }
			},
			this.#aligned(),
			host
		);
		this.#theme = new MutationObserver(() => this.#plot.redraw(false));
		this.#theme.observe(document.documentElement, { attributeFilter: ['class'] });
	}

	#aligned(): uPlot.AlignedData {
		return [Array.from(this.#data.t), ...this.#data.columns.map(withGaps)];
	}

	update(data: PlotData) {
		this.#data = data;
		this.#plot.setData(this.#aligned());
	}

	resize(width: number, height: number) {
		if (width !== this.#plot.width || height !== this.#plot.height) {
			this.#plot.setSize({ width, height });
		}
	}

	destroy() {
		this.#theme.disconnect();
		this.#plot.destroy();
	}
}
