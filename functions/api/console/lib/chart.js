// Charts: bars upon each other and lines over time, and bars of single figures.

import { h, svg } from './dom.js';
import { count } from './format.js';
import { panel } from './ui.js';

const W = 600, H = 120;

/**
 * A chart of `items`. `bars` and `lines` are lists of `[tone, name, value(item)]`; `at(item)` names an item, `tell` says a
 * value, `top(most)` what the upper edge is; `most` is the upper edge if it is known; `ends` stand below.
 * With `zeros` a value of 0 is told, too.
 */
export function chart(title, items, { bars = [], lines = [], at, tell = count, top = tell, most, ends, zeros = false }) {
  const all = [...bars, ...lines], sum = (one) => bars.reduce((total, [, , value]) => total + (value(one) ?? 0), 0);
  most ??= Math.max(1, ...items.flatMap((one) => [sum(one), ...lines.map(([, , value]) => value(one) ?? 0)]));
  const step = W / items.length, y = (value) => H - (value / most) * (H - 4);
  const told = (one) => all.filter(([, , value]) => (zeros ? value(one) !== null : value(one))).map(([, name, value]) => `${name} ${tell(value(one))}`);
  const columns = items.map((one, i) => {
    let below = 0;
    const stack = bars.filter(([, , value]) => value(one)).map(([tone, , value]) => svg('rect', { class: tone, x: (i + 0.1) * step, width: step * 0.8, y: y(below += value(one)), height: H - y(value(one)) }));
    return svg('g', {}, stack, svg('rect', { class: 'over', x: i * step, width: step, height: H }, svg('title', {}, [at(one), ...told(one)].join('\n'))));
  });
  // Where an item has no value, a line is interrupted; a value that stands alone is a dot.
  const path = (value) => items.map((one, i) => (value(one) === null ? '' : `${i && value(items[i - 1]) !== null ? 'L' : 'M'}${((i + 0.5) * step).toFixed(1)} ${y(value(one)).toFixed(1)}h.01`)).join('');
  return panel(title, h('div.row.small.soft', all.map(([tone, name], i) => h('span', { class: tone }, h('i', { class: i < bars.length ? 'key' : 'key thin-key' }), ` ${name}`)), h('span.grow.right', `top: ${top(most)}`)),
    svg('svg', { class: 'chart', viewBox: `0 0 ${W} ${H}`, preserveAspectRatio: 'none', role: 'img', 'aria-label': [title, ...items.map((one) => [at(one), ...told(one)]).filter((one) => one.length > 1).map((one) => one.join(' '))].join('; ') },
      columns, lines.map(([tone, , value]) => svg('path', { class: tone, d: path(value) }))),
    h('div.row.ends.small.soft', ends.map((text) => h('span', text))));
}

/** A line with a name, a number and its share of the most as a bar. */
export const bar = (name, number, share, tone) => h('div', h('div.row.small', h('span.grow.text', name), h('span.nowrap', number)),
  h('div.parts', h('i', { class: tone, style: { width: `${Math.min(1, share) * 100}%` } })));
