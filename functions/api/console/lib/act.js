// What a person is asked before something is done, with errors at the fields they are about.

import { Problem, wait } from './api.js';
import { h } from './dom.js';
import { button, dialog, field, toast, trouble } from './ui.js';

export const REASON = { name: 'reason', label: 'Reason', most: 250, hint: 'for the audit, and everybody whom it concerns' };

const STEPS = { number: 'any', integer: '1' };
const READ = {
  text: String, lines: String, number: Number, integer: Number, json: (text) => JSON.parse(text), choice: (text, { options }) => options[text][0],
};

/**
 * A field as `{name, label, kind, hint, help, required, options, value, least, most}`; `options` are `[value, text]`. The
 * value of one of kind `several` is a list of them.
 */
function asked(one) {
  const { name, label, kind = 'text', hint, help, required, options, value, least, most } = one;
  const more = { name, required, placeholder: hint };
  const text = kind === 'json' && value !== undefined ? JSON.stringify(value, null, 2) : value ?? '';
  const boxes = kind === 'several' && options.map(([id]) => h('input', { type: 'checkbox', name, value: id, checked: value?.includes(id) }));
  const control = boxes ? h('div.several', options.map(([, said], at) => h('label', boxes[at], ' ', said)))
    : kind === 'choice' ? h('select', more, !options.some(([id]) => id === value) && h('option', { value: '' }, required ? 'Choose…' : '–'),
    options.map(([id, said], at) => h('option', { value: at, selected: id === value }, said)))
    : kind === 'json' || kind === 'lines' ? h('textarea', { ...more, maxlength: most, spellcheck: 'false' }, text)
      : h('input', { ...more, value: text, ...(STEPS[kind] ? { type: 'number', step: STEPS[kind], min: least, max: most } : { maxlength: most }) });
  const wrong = h('span.bad', { role: 'alert' });
  const say = (message) => {
    wrong.textContent = message;
    for (const one of boxes || [control]) one.setAttribute('aria-invalid', String(Boolean(message)));
  };
  const node = boxes ? h('fieldset.field', h('legend', label), control) : field([label, !required && kind !== 'choice' && h('i', ' (optional)')], control);
  node.append(...[help && h('small.soft', help), wrong].filter(Boolean));
  const read = () => {
    if (boxes) return boxes.filter((one) => one.checked).map((one) => one.value);
    const said = control.value.trim();
    try {
      return said ? READ[kind](said, one) : undefined;
    } catch (error) {
      throw new Problem(0, { detail: `${label}: this is no JSON`, errors: [{ where: name, message: error.message }] });
    }
  };
  const takes = ({ where, message }) => {
    const place = (where ?? '').replace(/^(body|query)\.(policy\.)?/, '');
    const mine = place === name || (place.startsWith(name) && '/.['.includes(place[name.length]));
    if (mine) say(message);
    return mine;
  };
  return { name, node, read, say, takes };
}

/**
 * Ask in a dialog, then do it. `run(values, told)` carries it out and may return a line to show, or nodes, which stay until
 * the dialog is closed; `preview(values, told)` gives the nodes of a dry run. `done` is called after it was carried out.
 */
export const act = (title, { text, fields = [REASON], verb = title, risky = false, run, preview, done = () => {} }) => dialog(title, (close) => {
  const inputs = fields.map(asked), told = h('div', { 'aria-live': 'polite' });
  async function work(what) {
    const buttons = form.querySelectorAll('button'), able = (yes) => buttons.forEach((one) => { one.disabled = !yes; });
    inputs.forEach((input) => input.say(''));
    able(false);
    try {
      await what(Object.fromEntries(inputs.map((input) => [input.name, input.read()]).filter(([, value]) => value !== undefined)));
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      const rest = error.errors.filter((one) => !inputs.some((input) => input.takes(one)));
      told.replaceChildren(h('p.bad', { role: 'alert' }, error.errors.length && !rest.length ? 'A field needs another look: see above.' : error.message), ...rest.slice(0, 10).map((one) => h('p.small.bad', `${one.where ?? ''} ${one.message}`)));
    } finally {
      able(true);
    }
  }
  const form = h('form', { method: 'dialog', onsubmit: (event) => {
    event.preventDefault();
    work(async (values) => {
      const said = await run(values, told);
      done();
      if (said && typeof said !== 'string') return form.replaceChildren(...[said].flat(), h('footer', button('Close', close)));
      close();
      if (said) toast(said, 'good');
    });
  } }, [text].flat().map((one) => (typeof one === 'string' ? h('p', one) : one)), inputs.map((input) => input.node), told,
  h('footer', preview && button('Dry run', () => form.reportValidity() && work(async (values) => told.replaceChildren(h('div.changes', await preview(values, told))))),
    h('button', { class: risky ? 'risky' : 'main' }, verb)));
  return form;
});

/** A button that asks first. */
export const doing = (name, options) => button(name, () => act(options.title ?? name, { verb: name, ...options }), { class: options.risky ? 'risky' : options.main ? 'main' : '' });

export const number = (label, name, value, min, max) => field(label, h('input', { name, type: 'number', value, min, max, required: true }));

/** A form on a page: `send(elements)` sends it; its answer, or what was wrong, is kept in `ctx.local`. */
export function asking(ctx, verb, send, ...content) {
  const { local } = ctx;
  const onsubmit = async (event) => {
    event.preventDefault();
    const { elements } = event.target;
    Object.assign(local, { error: null, busy: true });
    ctx.render();
    try {
      local.found = await send(elements);
    } catch (error) { local.error = error; }
    local.busy = false;
    ctx.render();
  };
  return [h('form.panel.grid-1', { onsubmit }, content, h('div', h('button.main', { disabled: local.busy }, local.busy ? 'At work…' : verb))), local.error && trouble(local.error)];
}

const AT_ONCE = 8;

/** Do `work` for each of many, some at a time; `told` shows how far it is. Returns the answers; a Problem is one, too. */
export async function each(items, work, told) {
  const answers = [], left = [...items], bar = h('progress', { max: items.length, value: 0, 'aria-label': 'Progress' });
  let stopped = false;
  const one = async (item) => {
    for (;;) {
      try {
        return await work(item);
      } catch (error) {
        if (!(error instanceof Problem)) throw error;
        if (error.status !== 429 || stopped) return error;
        await wait(1000); // the platform asks for a pause
      }
    }
  };
  const worker = async () => {
    while (left.length && !stopped && told.isConnected) {
      answers.push(await one(left.shift()));
      bar.value = answers.length;
    }
  };
  told.replaceChildren(...(items.length > AT_ONCE ? [bar, button('Stop', () => { stopped = true; })] : []));
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  if (left.length) toast(`Stopped: ${left.length} of ${items.length} were not told.`, 'bad');
  if (items.length === 1 && answers[0] instanceof Problem) throw answers[0];
  return answers;
}

export const found = (request) => request.catch((error) => (error.status === 404 ? null : Promise.reject(error)));

export const pager = (ctx, next) => h('div.row', ctx.query.cursor && button('First page', () => ctx.set({ cursor: '' })), next && button('Next page', () => ctx.set({ cursor: next })));
