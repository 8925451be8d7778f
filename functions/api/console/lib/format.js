// Times, spans and sizes as people read them. Times are local; their titles say UTC.

import { h } from './dom.js';

let offset = 0; // milliseconds that the platform's clock is ahead of this one

/** The platform's time now, in milliseconds since 1970. */
export const now = () => Date.now() + offset;

export function clockFrom(header) {
  const seen = Date.parse(header ?? '');
  if (!Number.isNaN(seen) && Math.abs(seen - now()) > 2000) offset = seen + 500 - Date.now();
}

/** A span such as `850 ms`, `12.4 s`, `3 m 20 s`, `2 h 5 m`, `4 d 3 h`. */
export function span(ms) {
  if (ms === null || ms === undefined || Number.isNaN(ms)) return '–';
  const sign = ms < 0 ? '−' : '';
  const all = Math.abs(ms);
  if (all < 1000) return `${sign}${Math.round(all)} ms`;
  if (all < 59_950) return `${sign}${(all / 1000).toFixed(all < 9_950 ? 1 : 0)} s`;
  const seconds = Math.round(all / 1000);
  const parts = [['d', 86400], ['h', 3600], ['m', 60], ['s', 1]];
  const first = parts.findIndex(([, size]) => seconds >= size);
  return sign + parts.slice(first, first + 2).map(([unit, size], i) => [Math.floor((i ? seconds % parts[first][1] : seconds) / size), unit])
    .filter(([count], i) => count || !i).map(([count, unit]) => `${count} ${unit}`).join(' ');
}

function relative(moment) {
  const left = Date.parse(moment) - now();
  if (Math.abs(left) < 1000) return 'now';
  return left < 0 ? `${span(Math.round(-left / 1000) * 1000)} ago` : `in ${span(Math.round(left / 1000) * 1000)}`;
}

/** A moment as a `<time>`: local, or how long ago with `ago`; its title is UTC. */
export function when(moment, { ago = false } = {}) {
  if (!moment) return '–';
  const text = () => (ago ? relative(moment) : local(moment));
  return h('time', { datetime: moment, title: `${local(moment)} · ${moment.replace('T', ' ').replace(/\.\d+|\+00:00|Z$/g, '')} UTC`,
    'data-tick': ago, tick: ago ? (node) => { node.textContent = text(); } : null }, text());
}

const TIME = new Intl.DateTimeFormat(undefined, { timeStyle: 'medium' }); // made once: it takes longer to make than to use
const DAY = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' });

export function local(moment) {
  const date = new Date(moment);
  return (date.toDateString() === new Date(now()).toDateString() ? TIME : DAY).format(date);
}

const NUMBER = new Intl.NumberFormat(); // made once: a new one takes as long as 50 numbers

export const count = (number) => NUMBER.format(number ?? 0);
export const percent = (share, digits = 0) => (share === null || share === undefined ? '–' : `${(share * 100).toFixed(digits)} %`);
export const bytes = (size) => (size < 1024 ? `${size} B` : size < 1048576 ? `${(size / 1024).toFixed(1)} KiB` : `${(size / 1048576).toFixed(1)} MiB`);

export const counted = (number, word, many = `${word}s`) => `${count(number)} ${number === 1 ? word : many}`;
