// Form fields from a model's input schema, generically: choices, numbers, switches, text. A value is sent only when it
// differs from the default, so that the model's defaults stay its own.

const NAMES = { image_size: 'Size', aspect_ratio: 'Shape', enable_safety_checker: 'Safety checker' };
const FIRST = ['prompt'];
const MAIN = ['num_images', 'image_size', 'aspect_ratio', 'resolution', 'upscale_factor'];

let made = 0;

/** The fields of a schema: { name, place, element, read, write }. */
export function fieldsOf(schema) {
  return Object.entries(schema.properties).map(([name, property]) => {
    const place = FIRST.includes(name) ? 'first' : MAIN.includes(name) ? 'main' : 'more';
    return { name, place, ...build(name, property, schema) };
  });
}

function build(name, property, schema) {
  const forms = leaves(property, schema.$defs ?? {});
  const values = forms.flatMap((form) => form.enum ?? (form.const === undefined ? [] : [form.const]));
  const own = forms.find((form) => form.properties?.width && form.properties?.height);
  const about = { name, label: NAMES[name] ?? labelOf(property.title ?? name), hint: hintOf(property, forms), fallback: property.default ?? null };
  if (values.length) return own ? sized(about, values, own) : choice(about, values);
  const types = new Set(forms.map((form) => form.type));
  if (types.has('boolean')) return toggle(about);
  if (types.has('string') && types.has('integer')) return text(about, { inputMode: 'numeric', placeholder: 'chosen for you' });
  if (types.has('integer') || types.has('number')) return number(about, forms.find((form) => form.type !== 'null'));
  return text(about, { long: name.includes('prompt'), tall: name === 'prompt', placeholder: property.examples?.[0] ?? '' });
}

/** All the forms a value can take, without unions and references. */
function leaves(schema, defs) {
  const whole = schema.$ref ? { ...defs[schema.$ref.split('/').pop()], ...schema } : schema;
  const more = whole.anyOf ?? whole.oneOf;
  return more ? more.flatMap((form) => leaves(form, defs)) : [whole];
}

const labelOf = (title) => {
  const words = title.replaceAll('_', ' ').toLowerCase();
  return words[0].toUpperCase() + words.slice(1);
};
const hintOf = (property, forms) => property.description ?? property.anyOf?.find((form) => form.description)?.description ?? forms[0]?.description ?? '';
const spoken = (value) => String(value).replace(/(\d)_(\d)/, '$1:$2').replaceAll('_', ' ');

/** A labelled control with room for a hint and for what is wrong with it. */
function field({ name, label, hint }, control, { beside = false } = {}) {
  made += 1;
  control.id = `input-${made}`;
  control.name = name;
  const box = element('div', { className: beside ? 'field beside' : 'field' });
  box.dataset.pointer = `/body/input/${name}`;
  const title = element('label', { htmlFor: control.id, textContent: label });
  const help = element('p', { className: 'hint', id: `${control.id}-hint`, textContent: hint });
  if (hint) control.setAttribute('aria-describedby', help.id);
  box.append(...(beside ? [control, title] : [title, control]), help, element('p', { className: 'wrong', hidden: true }));
  return box;
}

function choice(about, values) {
  const select = element('select');
  if (about.fallback === null) select.append(new Option('the model chooses', ''));
  for (const value of values) select.append(new Option(spoken(value), String(value)));
  const standard = about.fallback === null ? '' : String(about.fallback);
  select.value = standard;
  const given = () => values.find((value) => String(value) === select.value);
  return {
    element: field(about, select),
    read: () => (select.value === standard ? undefined : given()),
    write: (value) => { if ([...select.options].some((option) => option.value === String(value))) select.value = String(value); },
  };
}

/** A preset or a width and a height. */
function sized(about, values, form) {
  const base = choice(about, values);
  const select = base.element.querySelector('select');
  select.append(new Option('your own', 'own'));
  const sides = ['width', 'height'].map((side) => {
    const { minimum, maximum } = form.properties[side];
    const input = element('input', { type: 'number', inputMode: 'numeric', min: minimum, max: maximum, value: Math.min(maximum, Math.max(minimum, 1024)) });
    input.setAttribute('aria-label', `${labelOf(side)} in pixels`);
    return input;
  });
  const pair = element('div', { className: 'sides', hidden: true });
  pair.append(sides[0], element('span', { textContent: '×' }), sides[1]);
  select.after(pair);
  const settle = () => { pair.hidden = select.value !== 'own'; };
  select.addEventListener('change', settle);
  return {
    ...base,
    read: () => (select.value === 'own' ? { width: numeric(sides[0].value), height: numeric(sides[1].value) } : base.read()),
    write: (value) => {
      if (value?.width) {
        select.value = 'own';
        [sides[0].value, sides[1].value] = [value.width, value.height];
      } else base.write(value);
      settle();
    },
  };
}

function toggle(about) {
  const input = element('input', { type: 'checkbox', checked: about.fallback === true });
  return {
    element: field(about, input, { beside: true }),
    read: () => (input.checked === (about.fallback === true) ? undefined : input.checked),
    write: (value) => { input.checked = value === true; },
  };
}

function number(about, { minimum, maximum, type }) {
  const input = element('input', { type: 'number', min: minimum ?? '', max: maximum ?? '', step: type === 'integer' ? 1 : 'any' });
  input.inputMode = type === 'integer' ? 'numeric' : 'decimal';
  input.value = about.fallback ?? '';
  return {
    element: field(about, input),
    read: () => (input.value === '' || Number(input.value) === about.fallback ? undefined : numeric(input.value)),
    write: (value) => { input.value = value; },
  };
}

function text(about, { long = false, tall = false, inputMode, placeholder = '' }) {
  const input = long ? element('textarea', { rows: tall ? 4 : 2 }) : element('input', { type: 'text', autocomplete: 'off' });
  if (inputMode) input.inputMode = inputMode;
  input.placeholder = placeholder;
  input.value = about.fallback ?? '';
  const needed = tall && about.fallback === null;
  return {
    element: field(about, input),
    read: () => (input.value === (about.fallback ?? '') && !needed ? undefined : input.value),
    write: (value) => { input.value = value; },
  };
}

/** What cannot be a number is sent as it stands: the service says what is wrong with it. */
const numeric = (words) => (words !== '' && Number.isFinite(Number(words)) ? Number(words) : words);

const element = (name, properties = {}) => Object.assign(document.createElement(name), properties);
