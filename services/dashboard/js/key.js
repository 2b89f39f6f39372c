// The sign-in: one key, asked for by whoever needs it first; all others wait for the same answer.

import { h } from "./dom.js";

let asked = null;

export function askForKey(wasWrong) {
    asked ??= new Promise((done) => open(wasWrong, done)).finally(() => (asked = null));
    return asked;
}

function open(wasWrong, done) {
    const input = h("input", {
        type: "password",
        id: "key",
        autocomplete: "off",
        required: true,
        pattern: "[\\x21-\\x7e]+",
        title: "letters, digits and signs, without spaces",
        spellcheck: false,
    });
    const dialog = h(
        "dialog.signin",
        { "aria-labelledby": "signin-title" },
        h(
            "form",
            {
                method: "dialog",
                onsubmit: (event) => {
                    event.preventDefault();
                    dialog.close();
                    dialog.remove();
                    done(input.value.trim());
                },
            },
            h("h2", { id: "signin-title" }, "Sign in"),
            h("p", wasWrong ? "That key was not taken. Try another." : "This service asks for a key."),
            h("label", { htmlFor: "key" }, "API key"),
            input,
            h("p.hint", "It is kept until this tab is closed, and nowhere else."),
            h("button.primary", { type: "submit" }, "Sign in"),
        ),
    );
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    document.body.append(dialog);
    dialog.showModal();
}
