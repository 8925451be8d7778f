// The decision of a person about a flow or a ticket, with the form that a JSON Schema describes.

import { act, REASON } from './act.js';
import { changes, tell } from './commands.js';
import { h } from './dom.js';
import { since } from './ui.js';

const YES_NO = [[true, 'Yes'], [false, 'No']];
const TYPES = new Set(['string', 'number', 'integer']);

/** The field for the value at `name` (a JSON Pointer) that `schema` describes; whatever has no field of its own is JSON. */
function fieldOf(name, label, schema, required) {
  const type = [schema.type].flat().find((one) => one !== 'null');
  const shape = Array.isArray(schema.enum) ? { kind: 'choice', options: schema.enum.map((value) => [value, typeof value === 'string' ? value : JSON.stringify(value)]) }
    : type === 'boolean' ? { kind: 'choice', options: YES_NO }
      : TYPES.has(type) ? { kind: type === 'string' ? 'text' : type, least: schema.minimum, most: type === 'string' ? schema.maxLength : schema.maximum } : { kind: 'json' };
  return { name, label: schema.title ?? label, help: schema.description, value: schema.default, required, ...shape };
}

/** The fields of a form: one for each property of an object, else one for all of it. */
function fieldsOf(form) {
  if (!form) return [];
  if (form.type !== 'object' || !form.properties) return [fieldOf('/data', 'Data', form, true)];
  return Object.entries(form.properties).map(([name, schema]) => fieldOf(`/data/${name.replaceAll('~', '~0').replaceAll('/', '~1')}`, name, Object(schema), form.required?.includes(name)));
}

function dataOf(form, values) {
  if (!form) return undefined;
  if ('/data' in values) return values['/data'];
  return Object.fromEntries(Object.entries(values).filter(([name]) => name.startsWith('/data/')).map(([name, value]) => [name.slice(6).replaceAll('~1', '/').replaceAll('~0', '~'), value]));
}

/** Ask a person to approve or deny. `item` is one of the inbox, or the approval of a ticket. */
export function decide(item, verb, done) {
  const approves = verb === 'approve';
  const form = approves ? item.form : null;
  const send = ({ reason, ...values }, dry) => tell(item.kind ?? 'ticket', item.ticket_id ?? item.flow_id, verb, { reason, data: dataOf(form, values), dry_run: dry });
  return act(approves ? 'Approve' : 'Deny', {
    text: [h('p.text', h('b', item.message)), h('p.small.soft', item.then), item.until && h('p.small', 'This can be decided until then: ', since(item.until))],
    fields: [...fieldsOf(form), REASON], risky: !approves, done,
    preview: async (values) => changes([await send(values, true)]),
    run: async (values) => { await send(values, false); return approves ? 'Approved' : 'Denied'; },
  });
}
