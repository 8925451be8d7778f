// What a person is asked before something is done: fields, the button that does it, and errors at the field they are about.

import { Problem } from './api.js';
import { h } from './dom.js';
import { button, dialog, field, toast } from './ui.js';

/** The reason that most actions ask for. */
export const REASON = { name: 'reason', label: 'Reason', most: 250, hint: 'for the audit, and everybody whom it concerns' };

const NUMBERS = { number: 'any', integer: '1' };
const READ = {
  text: (text) => text || undefined,
  number: (text) => (text ? Number(text) : undefined),
  integer: (text) => (text ? Number(text) : undefined),
  time: (text) => (text ? new Date(text).toISOString() : undefined),
  choice: (text, { options }) => options[text]?.[0],
  lines: (text, { required }) => { const lines = text.split('\n').map((line) => line.trim()).filter(Boolean); return lines.length || required ? lines : undefined; },
  json: (text) => (text ? JSON.parse(text) : undefined),
};

/** A field as `{name, label, kind, hint, help, required, options, value, least, most}`; `options` are `[value, text]`. */
function asked(one) {
  const { name, label, kind = 'text', hint, help, required, options, value, least, most } = one;
  const more = { name, required, placeholder: hint };
  const text = kind === 'json' && value !== undefined ? JSON.stringify(value, null, 2) : [value ?? []].flat().join('\n');
  const control = kind === 'choice' ? h('select', more, !options.some(([id]) => id === value) && h('option', { value: '' }, required ? 'Choose…' : '–'),
    options.map(([id, said], at) => h('option', { value: at, selected: id === value }, said)))
    : kind === 'lines' || kind === 'json' || most > 1000 ? h('textarea', { ...more, maxlength: kind === 'text' ? most : null }, text)
      : h('input', { ...more, value: text, ...(kind === 'time' ? { type: 'datetime-local', step: 1 } : NUMBERS[kind] ? { type: 'number', step: NUMBERS[kind], min: least, max: most } : { maxlength: most }) });
  const wrong = h('span', { class: 'bad', role: 'alert' });
  const say = (message) => {
    wrong.textContent = message;
    control.setAttribute('aria-invalid', String(Boolean(message)));
  };
  const node = field([label, !required && kind !== 'choice' && h('i', {}, ' (optional)')], control);
  node.append(...[help && h('small', { class: 'soft' }, help), wrong].filter(Boolean));
  const read = () => {
    try {
      return READ[kind](control.value.trim(), one);
    } catch (error) {
      throw new Problem(0, { detail: `${label}: this is no JSON`, errors: [{ where: name, message: error.message }] });
    }
  };
  /** Tell an error here if it is about this field. */
  const takes = ({ where, message }) => {
    const place = (where ?? '').replace(/^(body|query)\./, '');
    const mine = place === name || place.startsWith(`${name}/`);
    if (mine) say(message);
    return mine;
  };
  return { name, node, read, say, takes };
}

/**
 * Ask in a dialog, then do it. `run(values)` carries it out and may return a line to show, or nodes, which stay until the
 * dialog is closed; `preview(values)` gives the nodes of a dry run. `done` is called after it was carried out.
 */
export const act = (title, { text, fields = [REASON], verb = title, risky = false, run, preview, done = () => {} }) => dialog(title, (close) => {
  const inputs = fields.map(asked);
  const told = h('div', { 'aria-live': 'polite' });
  async function work(what) {
    const buttons = [...form.querySelectorAll('button')];
    inputs.forEach((input) => input.say(''));
    told.replaceChildren();
    buttons.forEach((one) => { one.disabled = true; });
    try {
      await what(Object.fromEntries(inputs.map((input) => [input.name, input.read()]).filter(([, value]) => value !== undefined)));
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      const rest = error.errors.filter((one) => !inputs.some((input) => input.takes(one)));
      told.replaceChildren(h('p', { class: 'bad', role: 'alert' }, error.errors.length && !rest.length ? 'A field needs another look: see above.' : error.message), ...rest.slice(0, 10).map((one) => h('p', { class: 'small bad' }, `${one.where ?? ''} ${one.message}`)));
    } finally {
      buttons.forEach((one) => { one.disabled = false; });
    }
  }
  const form = h('form', { method: 'dialog', onsubmit: (event) => {
    event.preventDefault();
    work(async (values) => {
      const said = await run(values, told);
      done();
      if (said && typeof said !== 'string') return form.replaceChildren(...[said].flat(), h('footer', {}, button('Close', () => close(true))));
      close(true);
      if (said) toast(said, 'good');
    });
  } }, [text].flat().map((one) => (typeof one === 'string' ? h('p', {}, one) : one)), inputs.map((input) => input.node), told,
  h('footer', {}, preview && button('Dry run', () => form.reportValidity() && work(async (values) => told.replaceChildren(h('div', { class: 'changes' }, await preview(values))))),
    h('button', { class: risky ? 'risky' : 'main' }, verb)));
  return form;
});

/** A button that asks first: `act` under its name, or another `title`. */
export const doing = (name, options) => button(name, () => act(options.title ?? name, { verb: name, ...options }), { class: options.risky ? 'risky' : options.main ? 'main' : '' });

/** What a request finds; null for a 404. */
export const found = (request) => request.catch((error) => (error.status === 404 ? null : Promise.reject(error)));

/** Buttons for the pages of a list; the place is kept in the address. */
export const pager = (ctx, next, name = 'cursor') => h('div', { class: 'row' }, ctx.query[name] && button('First page', () => ctx.set({ [name]: '' })), next && button('Next page', () => ctx.set({ [name]: next })));

/** Do something to many, one after the other; returns what failed as lines, and tells how far it is. */
export async function each(items, work, told) {
  const failed = [];
  for (const [at, item] of items.entries()) {
    if (!(at % 10)) told.textContent = `${at} of ${items.length} done`;
    await work(item).catch((error) => failed.push(error.message));
  }
  return failed;
}

/** Read a page again every so many seconds, for what comes without an event. */
export function again(ctx, seconds) {
  clearTimeout(ctx.local.timer);
  ctx.local.timer = setTimeout(() => { if (!ctx.signal.aborted) document.hidden ? again(ctx, seconds) : ctx.reload(); }, seconds * 1000);
}

/** A field that filters what a page shows; `/` leads to it. */
export const search = (ctx, name, label) => field(label, h('input', { type: 'search', name, value: ctx.query[name] ?? '', 'data-search': true,
  oninput: (event) => { ctx.set({ [name]: event.target.value.trim() }); ctx.render(); } }));
