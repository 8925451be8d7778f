// The graph of a flow: boxes in columns, coloured by state, the critical path marked (◆), to zoom.

import { h, svg } from './dom.js';
import { counted, span } from './format.js';
import { layout } from './layout.js';
import { ENDED, slackOf, tookOf } from './run.js';
import { button, select, tone, words } from './ui.js';
import { soon } from './virtual.js';

const LEAST = 0.08, MOST = 2, STEP = 1.3; // zoom
const AROUND = 300; // pixels beyond what is seen that are drawn, too
const READABLE = 0.5; // below this zoom boxes have no text
const SIGNS = { COMPLETED: '✓', FAILED: '✕', RUNNING: '●', ASSIGNED: '◐', WAITING: '◷', SKIPPED: '»', CANCELLED: '–', COMPENSATED: '↶', COMPENSATING: '↶' };
const said = (status) => `${SIGNS[status] ?? '○'} ${words(status)}`;
const middle = (text, most) => (text.length <= most ? text : `${text.slice(0, most >> 1)}…${text.slice(1 - (most >> 1))}`);
const press = (label, work) => ({ role: 'button', tabindex: '0', 'aria-label': label, onclick: work,
  onkeydown: (event) => { if (event.key === 'Enter' || event.key === ' ') { event.preventDefault(); work(); } } });

/** The graph of a run: as it is now, or `then`, as `Run.at` gives it. */
export function graph(ctx, run, then = null) {
  const { by = '', open = '' } = ctx.query;
  const at = ctx.local.graph ??= { left: 0, top: 0, height: 500, width: Math.max(300, document.querySelector('main').clientWidth - 60) };
  const opened = new Set(open.split(',').filter(Boolean)), key = [by, open, run.tickets.size, run.readings].join();
  if (at.key !== key) Object.assign(at, { key, drawn: layout([...run.tickets.values()], by, opened) });
  const { width, height, lines, boxes } = at.drawn;
  at.zoom ??= Math.max(0.55, Math.min(1, at.width / width));
  const { zoom } = at;
  const toggle = (id) => {
    if (!opened.delete(id)) opened.add(id);
    ctx.set({ open: [...opened].join() });
  };
  const now = (ticket) => run.tickets.get(ticket.ticket_id) ?? ticket; // the layout keeps tickets as they were
  const draw = { zoom, toggle, then, now, status: (ticket) => (then ? then.tickets.get(ticket.ticket_id)?.to_status ?? 'PENDING' : now(ticket).status) };
  const near = (from, size, start, seen) => from * zoom < start + seen + AROUND && (from + size) * zoom > start - AROUND;
  return h('div', { key: 'graph' },
    h('div.row.small', select([['', 'group if large'], ['none', 'every ticket'], ['level', 'by level'], ['type', 'by level and type']], by, (value) => { at.zoom = undefined; ctx.set({ by: value, open: '' }); }, { 'aria-label': 'Group tickets' }),
      button('−', () => zoomBy(ctx, 1 / STEP), { 'aria-label': 'Zoom out' }), button('+', () => zoomBy(ctx, STEP), { 'aria-label': 'Zoom in' }), button('Fit', () => zoomBy(ctx, 0)),
      h('span.soft', '◆ critical path')),
    h('div.canvas', { tabindex: '0', role: 'region', 'aria-label': 'Graph of tickets: arrow keys move it, plus and minus zoom, 0 fits it', ...hands(ctx, at) },
      svg('svg', { width: Math.round(width * zoom), height: Math.round(height * zoom), viewBox: `0 0 ${width} ${height}` },
        svg('path', { class: 'edge', d: lines.plain }), svg('path', { class: 'edge critical', d: lines.critical }),
        boxes.filter((box) => near(box.x, box.width, at.left, at.width) && near(box.y, box.height, at.top, at.height)).map((box) => drawn(box, draw)))));
}

function drawn(box, { zoom, toggle, then, now, status }) {
  const { below, inner, width, height, critical } = box, ticket = box.ticket && now(box.ticket);
  const states = below ? [...Map.groupBy(below, status)] : [], state = ticket && status(ticket);
  const name = ticket ? ticket.task_id : `${box.type ? words(box.type) : `level ${box.level}`} · ${counted(below.length, 'ticket')}`;
  const slack = then ? null : ticket ? slackOf(ticket) : Math.min(...below.map((one) => slackOf(now(one)) ?? Infinity));
  const worked = ticket && !then && (ENDED.has(state) || state === 'RUNNING') ? tookOf(ticket) : null;
  const line = [ticket ? said(state) : states.map(([one, list]) => `${list.length} ${words(one)}`).join(', '), !below && worked !== null && span(worked), Number.isFinite(slack ?? NaN) && `slack ${span(slack)}`].filter(Boolean).join(' · ');
  const title = [name, ticket?.description, line, critical && 'on the critical path', ticket?.worker_id && `worker ${ticket.worker_id}`, ticket?.reason?.message].filter(Boolean).join('\n');
  const readable = zoom >= READABLE, share = (width - 16) / below?.length;
  let x = 8;
  return svg('g', { key: box.id, class: ['box', ticket ? tone(state) : 'group', critical && 'critical', slack !== null && slack < 0 && 'late', inner && 'inner'].filter(Boolean).join(' '), transform: `translate(${box.x} ${box.y})` },
    svg(ticket ? 'a' : 'g', ticket ? { href: `/console/tickets/${encodeURIComponent(ticket.ticket_id)}`, 'aria-label': title } : press(`${title}. Open or close`, () => toggle(box.id)),
      readable && svg('title', {}, title), svg('rect', { width, height, rx: 7 }),
      readable && svg('text', { x: 9, y: 18, class: 'name' }, `${critical ? '◆ ' : ''}${middle(name, 24)}`), readable && !inner && svg('text', { x: 9, y: 34 }, middle(line, below && ticket ? 18 : 32)),
      !inner && states.map(([one, { length }]) => svg('rect', { class: `share ${tone(one)}`, x: (x += share * length) - share * length, y: height - 7, width: share * length, height: 4 }))),
    below && (ticket || inner) && readable && svg('g', { class: 'opener', ...press(`${inner ? 'Close' : 'Open'} ${name}`, () => toggle(box.id)) },
      svg('rect', { x: width - 66, y: inner ? 4 : 20, width: 60, height: 19, rx: 5 }), svg('text', { x: width - 11, y: inner ? 18 : 34, 'text-anchor': 'end' }, `${inner ? '▾' : '▸'} ${below.length}`)));
}

/** Zoom around the middle of the picture; a factor of 0 shows all of it. */
function zoomBy(ctx, factor) {
  const at = ctx.local.graph, box = document.querySelector('.canvas'), before = at.zoom;
  const x = box.clientWidth / 2, y = box.clientHeight / 2;
  at.zoom = Math.min(factor ? MOST : 1, Math.max(LEAST, factor ? before * factor : Math.min((box.clientWidth - 4) / at.drawn.width, 600 / at.drawn.height)));
  at.left = ((box.scrollLeft + x) * at.zoom) / before - x;
  at.top = ((box.scrollTop + y) * at.zoom) / before - y;
  ctx.render();
  box.scrollTo(at.left, at.top);
}

const hands = (ctx, at) => ({
  onscroll: ({ currentTarget: box }) => {
    Object.assign(at, { left: box.scrollLeft, top: box.scrollTop, width: box.clientWidth, height: box.clientHeight });
    soon(ctx.local, ctx.render);
  },
  onkeydown: (event) => {
    const factor = { '+': STEP, '=': STEP, '-': 1 / STEP, 0: 0 }[event.key];
    if (factor !== undefined) zoomBy(ctx, factor);
  },
});
