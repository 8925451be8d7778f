// Long lists and large pictures: only what can be seen is in the page.

import { h } from './dom.js';

const AROUND = 12; // rows kept above and below

/** Call `work` once before the next picture of the screen. */
export function soon(local, work) {
  local.frame ??= requestAnimationFrame(() => { local.frame = null; work(); });
}

/** A list that scrolls, with rows `size` pixels high; `row(item, index)` makes one. `above` stays on top of it. */
export function virtual(ctx, name, items, size, row, label, above) {
  const spot = ctx.local[name] ??= { top: 0, height: 550 };
  const start = () => Math.max(0, Math.floor(spot.top / size) - AROUND);
  const first = start();
  const onscroll = ({ currentTarget: box }) => {
    Object.assign(spot, { top: box.scrollTop, height: box.clientHeight });
    if (Math.abs(start() - first) > AROUND / 2) soon(ctx.local, ctx.render);
  };
  return h('div.virtual', { key: name, tabindex: '0', role: 'region', 'aria-label': label, onscroll }, above,
    h('div.space', { role: 'list', style: { height: `${items.length * size}px` } }, h('div', { style: { transform: `translateY(${first * size}px)` } },
      items.slice(first, first + Math.ceil(spot.height / size) + 2 * AROUND).map((item, index) => row(item, first + index)))));
}

/** What `read` gives, read once under `name`: undefined until it is there, an Error if it failed. */
export function once(ctx, name, read) {
  const known = ctx.local.once ??= new Map();
  if (!known.has(name)) {
    known.set(name, undefined);
    read().catch((error) => error).then((value) => { known.set(name, value); ctx.render(); });
  }
  return known.get(name);
}
