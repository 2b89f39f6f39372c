// The code that asks this model, ready to be copied.

import { key, root } from "../api.js";
import { h, show, toast } from "../dom.js";

const here = () => root.href.replace(/\/$/, "");

const KINDS = {
    curl: (model) => `curl ${here()}/v1/predictions${key() ? ' -H "Authorization: Bearer $HEADWAY_API_KEY"' : ""} \\
  -F model=${model} \\
  -F image=@photo.jpg`,
    openai: (model) => `import base64
from openai import OpenAI

client = OpenAI(base_url="${here()}/v1", api_key=${key() ? '"…"' : '"none"'})
photo = base64.b64encode(open("photo.jpg", "rb").read()).decode()
answer = client.chat.completions.create(
    model="${model}",
    messages=[{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{photo}"}}]}],
)
print(answer.choices[0].message.content)`,
    torchvision: (model) => `# headway download ${model} --format pt --out model.pt
import torch
from PIL import Image, ImageOps
from torchvision.models import ResNet18_Weights, resnet18

state = torch.load("model.pt")
model = resnet18(num_classes=len(state["fc.bias"]))
model.load_state_dict(state)
model.eval()
photo = ImageOps.exif_transpose(Image.open("photo.jpg")).convert("RGB")
pixels = ResNet18_Weights.DEFAULT.transforms()(photo)
with torch.inference_mode():
    print(model(pixels[None]).softmax(1))`,
    ONNX: (model) => `# headway download ${model} --format onnx --out model.onnx
import json
import numpy, onnxruntime
from PIL import Image, ImageOps

session = onnxruntime.InferenceSession("model.onnx")
labels = json.loads(session.get_modelmeta().custom_metadata_map["labels"])
photo = ImageOps.exif_transpose(Image.open("photo.jpg")).convert("RGB")
probabilities = session.run(["probabilities"], {"image": numpy.asarray(photo)})[0]
print(labels[probabilities.argmax()], probabilities.max())`,
};

export function codeFor(model) {
    const place = h("pre", { tabindex: "0", "aria-label": "code" });
    const tabs = Object.keys(KINDS).map((kind) => h("button", { type: "button", onclick: () => choose(kind) }, kind));
    const choose = (kind) => {
        show(place, KINDS[kind](model));
        tabs.forEach((tab) => tab.setAttribute("aria-pressed", String(tab.textContent === kind)));
    };
    const copy = async () => {
        await navigator.clipboard.writeText(place.textContent);
        toast("Copied.");
    };
    choose("curl");
    return h("div", h("p.tabs", tabs, navigator.clipboard && h("button.quiet", { onclick: copy }, "Copy")), place);
}
